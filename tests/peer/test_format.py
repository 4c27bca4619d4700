"""The formats: recorded vectors, readers and writers against each other, messages, connection strings."""

import random
import unittest

import harness
import muenblock
import shmstream
from muenblock import Kind, Request, Response
from shmstream import Geometry, Reader, Region, Result, Writer

PAIR = Geometry(0xBEEF, 4, 8)


def pair(habits: shmstream.ReaderHabits = shmstream.LINUX):
    region = Region.of_bytes(bytearray(64 + 4 * 8))
    return region, Writer(region, PAIR), Reader(region, PAIR, habits)


def packet(number: int) -> bytes:
    return number.to_bytes(4, "little")


def read_all(reader: Reader, limit: int = 100) -> list:
    packets = []
    while True:
        result, batch = reader.read_batch(limit)
        if result is not Result.SUCCESS:
            return packets + [result]
        packets += [int.from_bytes(one, "little") for one in batch]


class Vectors(unittest.TestCase):
    def test_appendix_packets_3_to_9_are_readable(self) -> None:
        region = Region.of_bytes(bytearray(harness.vector("shmstream_appendix.bin")))
        reader = Reader(region, Geometry(0xBEEFBEEFBEEF, 2))
        reader.drain()
        reader.read_count = 2       # the next packet is the third: its predecessor is just being overwritten
        self.assertEqual(reader.read_batch(20), (Result.SUCCESS, [bytes([n, n]) for n in range(3, 10)]))

    def test_appendix_a_fresh_reader_overruns_and_recovers(self) -> None:
        region = Region.of_bytes(bytearray(harness.vector("shmstream_appendix.bin")))
        reader = Reader(region, Geometry(0xBEEFBEEFBEEF, 2), shmstream.ADA)
        self.assertEqual(reader.read(), (Result.OVERRUN, None))
        self.assertEqual(reader.read_count, 9)
        self.assertEqual(reader.read(), (Result.NO_DATA, None))

    def test_recorded_session_reads_as_the_specification_tells_it(self) -> None:
        channels = []
        for name, size in (("request", 32), ("response", 16)):
            region = Region.of_bytes(bytearray(harness.vector(f"ada_example_{name}.bin")))
            reader = Reader(region, Geometry(muenblock.ADA_PROTOCOLS[0], size), shmstream.ADA)
            result, packets = reader.read_batch(100)
            self.assertIs(result, Result.SUCCESS)
            channels.append(packets)
        requests = [Request.unpack(one) for one in channels[0]]
        responses = [Response.unpack(one) for one in channels[1]]
        self.assertEqual(requests, [
            Request(Kind.RESET), Request(Kind.MAX_DEVICES, tag=1), Request(Kind.MEDIA_BLOCKS, tag=0xA),
            Request(Kind.BLOCK_LENGTH, tag=0xB), Request(Kind.MAX_BLOCKS_COUNT, tag=0xC),
            Request(Kind.GET_SMART, tag=0x534D4152), Request(Kind.DISCARD, tag=0x1000, length=0x40000),
            Request(Kind.WRITE, tag=0x1000, length=0x40000), Request(Kind.SYNC, tag=0x15),
            Request(Kind.READ, tag=0x1000, length=0x40000, buffer_offset=0x40000)])
        self.assertEqual(responses, [muenblock.answer(request, status) for request, status in
                                     zip(requests, (0, 1, 0x20000, 512, 65536, 1, 0, 0, 0, 0))])
        self.assertEqual([request.pack() for request in requests], channels[0])
        self.assertEqual([response.pack() for response in responses], channels[1])


class Channels(unittest.TestCase):
    def test_packets_come_in_order_in_batches_of_any_size(self) -> None:
        chance = random.Random(5)
        _, writer, reader = pair()
        writer.initialise()
        reader.drain()
        written = got = 0
        while got < 2000:
            batch = chance.randint(0, 8 - (written - got))
            writer.write(*(packet(number) for number in range(written, written + batch)))
            written += batch
            result, packets = reader.read_batch(chance.randint(1, 8))
            self.assertIs(result, Result.SUCCESS if packets else Result.NO_DATA)
            self.assertEqual(packets, [packet(number) for number in range(got, got + len(packets))])
            got += len(packets)

    def test_an_inactive_channel_is_told_and_forgotten(self) -> None:
        _, writer, reader = pair()
        self.assertEqual(reader.read(), (Result.INACTIVE, None))
        writer.initialise(7)
        writer.write(packet(1))
        self.assertEqual(read_all(reader), [Result.EPOCH_CHANGED])
        self.assertEqual(read_all(reader), [1, Result.NO_DATA])
        writer.deactivate()
        self.assertEqual(reader.read(), (Result.INACTIVE, None))
        writer.initialise(7)        # the same epoch, but it was inactive meanwhile
        writer.write(packet(2))
        self.assertEqual(read_all(reader), [Result.EPOCH_CHANGED])
        self.assertEqual(read_all(reader), [2, Result.NO_DATA])

    def test_an_ada_reader_returns_the_first_packet_in_the_call_that_synchronises(self) -> None:
        _, writer, reader = pair(shmstream.ADA)
        writer.initialise(1)
        writer.write(packet(9))
        self.assertEqual(reader.read(), (Result.SUCCESS, packet(9)))

    def test_an_overrun_loses_what_was_written(self) -> None:
        _, writer, reader = pair()
        writer.initialise()
        reader.drain()
        writer.write(*map(packet, range(8)))
        writer.write(packet(8))
        self.assertEqual(read_all(reader), [Result.OVERRUN])
        writer.write(packet(9))
        self.assertEqual(read_all(reader), [9, Result.NO_DATA])

    def test_announced_writing_counts_for_an_overrun(self) -> None:
        region, writer, reader = pair()
        writer.initialise()
        reader.drain()
        writer.write(*map(packet, range(8)))
        region.words[shmstream.WSC] = 9
        self.assertEqual(read_all(reader), [Result.OVERRUN])

    def test_wc_below_rc_is_a_new_session_and_to_an_ada_reader_nothing(self) -> None:
        for habits, expected in ((shmstream.LINUX, [Result.EPOCH_CHANGED]), (shmstream.ADA, [Result.NO_DATA])):
            _, writer, reader = pair(habits)
            writer.initialise(1)
            reader.drain()
            writer.write(*map(packet, range(5)))
            read_all(reader)
            writer.initialise(1)
            writer.write(packet(100))
            self.assertEqual(read_all(reader), expected)
        self.assertEqual(read_all(reader), [Result.NO_DATA])

    def test_each_field_of_the_header_is_checked(self) -> None:
        for index, value in ((shmstream.TRANSPORT, 0), (shmstream.PROTOCOL, 1), (shmstream.SIZE, 8),
                             (shmstream.ELEMENTS, 7), (shmstream.ELEMENTS, 2 ** 64 - 1), (shmstream.SIZE, 2 ** 63)):
            for habits in (shmstream.LINUX, shmstream.ADA):
                region, writer, reader = pair(habits)
                writer.initialise()
                region.words[index] = value
                self.assertEqual(read_all(reader), [Result.INCOMPATIBLE], (index, value))

    def test_only_an_ada_reader_takes_another_shape_of_the_same_product(self) -> None:
        for habits, expected in ((shmstream.LINUX, Result.INCOMPATIBLE), (shmstream.ADA, Result.NO_DATA)):
            region, writer, reader = pair(habits)
            writer.initialise()
            region.words[shmstream.SIZE], region.words[shmstream.ELEMENTS] = 8, 4
            self.assertEqual(read_all(reader), [expected])

    def test_random_headers_and_counters_neither_raise_nor_read_elsewhere(self) -> None:
        chance = random.Random(11)
        values = [0, 1, 2, 4, 8, 9, 63, 2 ** 32, 2 ** 63, 2 ** 64 - 8, 2 ** 64 - 1, PAIR.protocol, shmstream.MARKER]
        for habits in (shmstream.LINUX, shmstream.ADA):
            region, writer, reader = pair(habits)
            writer.initialise(1)
            for _ in range(20_000):
                region.words[chance.randrange(8)] = chance.choice(values)
                if chance.random() < 0.2:
                    writer.initialise(chance.randint(1, 3))
                _, packets = reader.read_batch(chance.choice((1, 3, 100)))
                self.assertLessEqual(len(packets), 8)
                self.assertTrue(all(len(one) == 4 for one in packets))
            writer.initialise(99)
            reader.read()
            writer.write(packet(5))
            self.assertEqual(read_all(reader)[-2:], [5, Result.NO_DATA])


class Texts(unittest.TestCase):
    def test_connections(self) -> None:
        self.assertEqual(muenblock.parse_connections("1:a:b:c"), [muenblock.Connection(1, "a", "b", "c")])
        first, second = muenblock.parse_connections("1:a:b:c,7:d:e:f:5155684453516f3d:1")
        self.assertEqual((second.id, second.request_protocol, second.response_protocol), (7, 0x5155684453516F3D, 1))
        self.assertEqual(muenblock.parse_connections(str(first)), [first])
        for wrong in ("", "1:a:b", "1:a:b:c:5", "1:a::c", "x:a:b:c", "1:a:b:c:0:1", "1:a:b:c:1:g", "1:a:b:c,1:d:e:f"):
            with self.assertRaises(ValueError, msg=wrong):
                muenblock.parse_connections(wrong)

    def test_devices_get_their_ids_in_order(self) -> None:
        self.assertEqual(muenblock.parse_devices("/dev/sda:2,/x:1,/a:b:2"), {2: ["/dev/sda", "/a:b"], 1: ["/x"]})


if __name__ == "__main__":
    unittest.main()
