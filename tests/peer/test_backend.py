"""muenblock-backend with well-behaved clients: everything that the specifications promise them."""

import os
import random
import unittest

import client
import harness
import muenblock
import shmstream
from harness import ADA_PAIR, LINUX_PAIR, SECOND_PAIR
from load import VerifiedLoad
from muenblock import Kind, Request, Smart, Status
from original import Original

MIB = 1 << 20


def pattern(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


class Kinds(harness.BackendCase):
    def test_info_kinds_tell_the_devices(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', 3 * MIB)}:1"])
        probe = self.client()
        self.assertEqual(probe.devices, [client.Device(6144, 512, 65536)])
        self.assertEqual(probe.ask(Kind.MAX_DEVICES, Kind.MEDIA_BLOCKS, Kind.BLOCK_LENGTH), [1, 6144, 512])
        self.assertTrue(0 < probe.ask(Kind.MAX_REQUESTS)[0] <= 1020)

    def test_write_read_discard_and_sync(self) -> None:
        image = self.image("image", 4 * MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        content = pattern(1, 64 << 10)
        probe.write(0, 512, content, buffer=8192)
        probe.sync(0)
        self.assertEqual(self.contents(image, 512, len(content)), content)
        self.assertEqual(self.contents(image, 0, 512), bytes(512))
        self.assertEqual(probe.read(0, 1024, 4096, buffer=512), content[512:512 + 4096])
        probe.discard(0, 4096, 8192)
        self.assertEqual(probe.read(0, 512, 4096 - 512), content[:4096 - 512])
        self.assertEqual(probe.read(0, 12288, 512), content[12288 - 512:12288])
        self.assertEqual(os.path.getsize(image), 4 * MIB)

    def test_smart_of_an_image_is_undefined_and_of_no_device_a_failure(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        probe = self.client()
        self.assertEqual(probe.status(Request(Kind.GET_SMART, buffer_offset=512)), Smart.UNDEFINED)
        self.assertEqual(probe.status(Request(Kind.GET_SMART, device=1)), Smart.FAILURE)

    def test_fields_that_a_kind_does_not_use_do_not_matter(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        probe = self.client()
        rest = {"length": 2 ** 64 - 1, "device_offset": 2 ** 64 - 1, "buffer_offset": 2 ** 64 - 1}
        self.assertEqual(probe.status(Request(Kind.DISCARD, length=512, buffer_offset=2 ** 64 - 1)), Status.OK)
        self.assertEqual(probe.status(Request(Kind.SYNC, **rest)), Status.OK)
        self.assertEqual(probe.status(Request(Kind.MEDIA_BLOCKS, **rest)), 2048)
        self.assertEqual(probe.status(Request(Kind.RESET, **rest)), Status.OK)

    def test_unknown_kinds_are_answered_with_not_supported_or_0_for_questions(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        probe = self.client()
        for kind in (Kind.NONE, 0x06, 0x0F):
            self.assertEqual(probe.status(Request(kind)), Status.NOTSUPP, hex(kind))
        for kind in (0x12, 0x18, 0x1C, 0x20, 0x7F, 0x8001, 0xFFFF):
            self.assertEqual(probe.status(Request(kind)), 0, hex(kind))

    def test_a_device_outside_the_table_is_answered_with_1_or_0(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        probe = self.client()
        for device in (1, 2, 0x8000, 0xFFFF):
            for kind in Kind:
                expected = 1 if kind in muenblock.WITH_STATUS else 0
                self.assertEqual(probe.status(Request(kind, device, length=512)), expected, f"{kind!r}, {device}")
        self.assert_serves()


class Bounds(harness.BackendCase):
    def refused(self, probe: harness.Probe, requests: list) -> None:
        for request in requests:
            self.assertEqual(probe.status(request), Status.IOERR, request)

    def test_the_bounds_of_device_and_buffer_hold_to_the_last_block(self) -> None:
        image = self.image("image", MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        size, buffer = MIB, len(probe.buffer)
        probe.buffer[buffer - 512:] = b"z" * 512
        last = Request(Kind.WRITE, length=512, device_offset=size // 512 - 1, buffer_offset=buffer - 512)
        self.assertEqual(probe.status(last), Status.OK)
        self.assertEqual(self.contents(image, size - 512, 512), b"z" * 512)
        self.assertEqual(probe.status(last._replace(kind=Kind.READ, length=MIB, device_offset=0,
                                                    buffer_offset=buffer - MIB)), Status.OK)
        for kind in muenblock.TRANSFERS:
            self.refused(probe, [
                Request(kind, length=512, device_offset=size // 512),
                Request(kind, length=1024, device_offset=size // 512 - 1),
                Request(kind, length=size + 512), Request(kind, length=513), Request(kind, length=511),
                Request(kind, length=2 ** 64 - 512), Request(kind, length=2 ** 63)])
        for kind in (Kind.READ, Kind.WRITE):
            self.refused(probe, [
                Request(kind, length=512, buffer_offset=buffer), Request(kind, length=1024, buffer_offset=buffer - 512),
                Request(kind, length=512, buffer_offset=1), Request(kind, length=512, buffer_offset=256)])
        self.assertEqual(os.path.getsize(image), size)

    def test_sums_that_overflow_64_bits_are_refused(self) -> None:
        image = self.image("image", MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        probe.buffer[:4096] = b"!" * 4096
        for kind in (Kind.READ, Kind.WRITE):
            self.refused(probe, [
                # 2^55 sectors are 2^64 bytes, which is 0 in 64 bits.
                Request(kind, length=512, device_offset=2 ** 55), Request(kind, length=512, device_offset=2 ** 55 + 1),
                Request(kind, length=512, device_offset=2 ** 55 - 1), Request(kind, length=512, device_offset=2 ** 63),
                Request(kind, length=1024, device_offset=2 ** 64 - 1),
                Request(kind, length=512, device_offset=2 ** 64 - 512),
                # Begin + length is 0 or 512 in 64 bits.
                Request(kind, length=512, buffer_offset=2 ** 64 - 512),
                Request(kind, length=1024, buffer_offset=2 ** 64 - 512),
                Request(kind, length=2 ** 64 - 512, buffer_offset=1024),
                Request(kind, length=2 ** 64 - 512, device_offset=2, buffer_offset=1024)])
        self.assertEqual(self.contents(image, 0, MIB), bytes(MIB))
        self.assertEqual(probe.buffer[:4096], b"!" * 4096)
        self.assert_serves()

    def test_with_byte_offsets_they_must_be_aligned_and_in_bounds(self) -> None:
        image = self.image("image", MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"], "--offset-unit", "bytes")
        probe = self.client(offset_unit=1)
        probe.write(0, 1024, b"k" * 512)
        self.assertEqual(self.contents(image, 512, 1536), bytes(512) + b"k" * 512 + bytes(512))
        self.refused(probe, [Request(Kind.WRITE, length=512, device_offset=offset) for offset in
                             (1, 511, 513, MIB, MIB - 256, 2 ** 64 - 512, 2 ** 64 - 1, 2 ** 63)])
        VerifiedLoad(probe, depth=32).run(harness.ANSWER_SECONDS, requests=300)

    def test_sector_offsets_count_512_bytes(self) -> None:
        image = self.image("image", MIB)
        with open(image, "r+b") as file:
            file.write(pattern(3, 4096))
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        self.assertEqual(probe.status(Request(Kind.READ, length=512, device_offset=1)), Status.OK)
        self.assertEqual(bytes(probe.buffer[:512]), pattern(3, 4096)[512:1024])

    def test_read_only_devices_refuse_what_would_change_them(self) -> None:
        image = self.image("image", MIB)
        with open(image, "r+b") as file:
            file.write(pattern(4, MIB))
        self.serve([LINUX_PAIR], [f"{image}:1"], "--read-only")
        probe = self.client()
        for kind in (Kind.WRITE, Kind.DISCARD):
            self.assertNotEqual(probe.status(Request(kind, length=4096)), Status.OK)
        self.assertEqual(probe.read(0, 4096, 4096), pattern(4, MIB)[4096:8192])
        self.assertEqual(probe.status(Request(Kind.SYNC)), Status.OK)
        self.assertEqual(self.contents(image, 0, MIB), pattern(4, MIB))


class ManyDevices(harness.BackendCase):
    def test_devices_have_their_ids_in_order_and_their_own_data(self) -> None:
        images = [self.image(f"image{number}", (number + 1) * MIB) for number in range(4)]
        self.serve([LINUX_PAIR], [f"{image}:1" for image in images])
        probe = self.client()
        self.assertEqual([device.size for device in probe.devices], [(number + 1) * MIB for number in range(4)])
        requests = []
        for number in range(4):
            content = pattern(number, 4096)
            probe.buffer[number * 4096:(number + 1) * 4096] = content
            requests.append(probe.request(Kind.WRITE, number, 8192, 4096, number * 4096))
        self.assertEqual(probe.exchange(requests), [0] * 4)
        for number, image in enumerate(images):
            self.assertEqual(self.contents(image, 8192, 4096), pattern(number, 4096))
        # The last block of the largest is beyond the end of the others.
        statuses = [probe.status(Request(Kind.READ, number, length=512, device_offset=8191)) for number in range(4)]
        self.assertEqual(statuses, [10, 10, 10, 0])

    def test_connections_have_their_own_devices(self) -> None:
        images = [self.image(f"image{number}", (number + 1) * MIB) for number in range(3)]
        self.serve([LINUX_PAIR, SECOND_PAIR], [f"{images[0]}:2", f"{images[1]}:1", f"{images[2]}:2"])
        first, second = self.client(LINUX_PAIR), self.client(SECOND_PAIR)
        self.assertEqual([device.size for device in first.devices], [2 * MIB])
        self.assertEqual([device.size for device in second.devices], [MIB, 3 * MIB])
        loads = [VerifiedLoad(first, seed=1), VerifiedLoad(second, 0, depth=32, seed=2)]
        for _ in range(200):
            for load in loads:
                load.turn()
        for load in loads:
            load.finish()

    def test_one_device_may_be_read_on_two_connections(self) -> None:
        image = self.image("image", MIB)
        with open(image, "r+b") as file:
            file.write(pattern(5, 8192))
        self.serve([LINUX_PAIR, SECOND_PAIR], [f"{image}:1", f"{image}:2"], "--read-only")
        for connection in (LINUX_PAIR, SECOND_PAIR):
            self.assertEqual(self.client(connection).read(0, 4096, 4096), pattern(5, 8192)[4096:])


class Loads(harness.BackendCase):
    def test_as_many_as_the_channels_hold_may_be_in_flight(self) -> None:
        image = self.image("image", 4 * MIB)
        with open(image, "r+b") as file:
            file.write(pattern(6, 4 * MIB))
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        self.assertEqual(probe.in_flight_max, 1020)
        for _ in range(5):
            requests = [probe.request(Kind.READ, 0, slot * 4096, 4096, slot * 4096) for slot in range(1020)]
            self.assertEqual(probe.exchange(requests), [0] * 1020)
        self.assertEqual(bytes(probe.buffer[:1020 * 4096]), pattern(6, 4 * MIB)[:1020 * 4096])

    def test_the_largest_io_is_the_whole_buffer(self) -> None:
        image = self.image("image", 20 * MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        probe.buffer[:] = pattern(7, 16 * MIB)
        probe.transfer(Kind.WRITE, 0, MIB, 16 * MIB)
        self.assertEqual(self.contents(image, MIB, 16 * MIB), pattern(7, 16 * MIB))
        probe.buffer[:] = bytes(16 * MIB)
        probe.transfer(Kind.READ, 0, MIB, 16 * MIB)
        self.assertEqual(bytes(probe.buffer), pattern(7, 16 * MIB))

    def test_random_verified_load(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', 64 * MIB)}:1"])
        probe = self.client()
        VerifiedLoad(probe, area=32 * MIB, depth=200, largest=80 << 10, seed=8).run(30, requests=3000)

    def test_waiting_by_polling_or_spinning_serves_as_well(self) -> None:
        for options in (("--wait", "poll"), ("--spin", "100"), ("--wait", "poll", "--spin", "50")):
            with self.subTest(options=options):
                program = self.serve([LINUX_PAIR], [f"{self.image('image', 4 * MIB)}:1"], *options)
                self.assert_serves()
                self.stop(program)

    def test_a_sync_after_many_writes_is_answered_after_them(self) -> None:
        image = self.image("image", 16 * MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        for turn in range(20):
            probe.buffer[:64 * 65536] = pattern(turn, 65536) * 64
            writes = [probe.request(Kind.WRITE, 0, number * 65536, 65536, number * 65536) for number in range(64)]
            self.assertEqual(probe.exchange(writes), [0] * 64)
            probe.sync(0)
            self.assertEqual(self.contents(image, 63 * 65536, 65536), pattern(turn, 65536))


class Sessions(harness.BackendCase):
    def test_nothing_is_executed_before_a_reset(self) -> None:
        image = self.image("image", MIB)
        self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client(connect=False)
        probe.reader.drain()
        probe.writer.initialise()
        probe.buffer[:512] = b"?" * 512
        probe.raw(Request(Kind.WRITE, tag=1, length=512), Request(Kind.DISCARD, tag=2, length=512))
        self.assertFalse([answer for answer in probe.raw_answers(2, harness.QUIET_SECONDS) if answer.status == 0])
        self.assertEqual(self.contents(image, 0, 512), bytes(512))
        probe.connect(initialise=False)
        probe.write(0, 0, b"!" * 512)
        self.assertEqual(self.contents(image, 0, 512), b"!" * 512)

    def test_what_was_written_before_the_server_started_is_passed_over(self) -> None:
        image = self.image("image", MIB)
        for name, size in (("request", 0x8000), ("response", 0x4000), ("buffer", 16 * MIB)):
            shmstream.create_region(os.path.join(self.regions, name), size)
        probe = self.client(connect=False)
        probe.writer.initialise()
        probe.buffer[:512] = b"?" * 512
        probe.raw(Request(Kind.RESET, tag=1), Request(Kind.WRITE, tag=2, length=512))
        self.serve([LINUX_PAIR], [f"{image}:1"])
        self.assertEqual(probe.raw_answers(1, harness.QUIET_SECONDS), [])
        self.assertEqual(self.contents(image, 0, 512), bytes(512))
        probe.connect(initialise=False)     # a Reset under the same epoch is enough
        probe.write(0, 0, b"!" * 512)

    def test_after_a_reset_nothing_of_before_is_answered(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', 16 * MIB)}:1"])
        probe = self.client()
        for _ in range(50):
            probe.raw(*(Request(Kind.READ, tag=tag, length=65536, device_offset=tag * 128, buffer_offset=tag * 65536)
                        for tag in range(100)), Request(Kind.RESET, tag=1000))
            tags = []
            while 1000 not in tags:
                fresh = [answer.tag for answer in probe.raw_answers(1)]
                self.assertTrue(fresh, "Reset was not answered")
                tags += fresh
            self.assertEqual(tags[-1], 1000)
        self.assertEqual(probe.raw_answers(1, harness.QUIET_SECONDS), [])

    def test_clients_may_come_one_after_the_other(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', 4 * MIB)}:1"])
        for turn in range(20):
            with harness.Probe(LINUX_PAIR, self.regions, timeout=harness.ANSWER_SECONDS) as one:
                one.connect()
                one.write(0, turn * 4096, pattern(turn, 4096))
                self.assertEqual(one.read(0, turn * 4096, 4096, 8192), pattern(turn, 4096))
                if turn % 2:
                    one.writer.deactivate()
        self.assert_serves()

    def test_a_client_that_waits_for_the_server_finds_it(self) -> None:
        image = self.image("image", MIB)
        program = self.serve([LINUX_PAIR], [f"{image}:1"])
        probe = self.client()
        for way in ("stop", "kill"):
            if way == "kill":
                program.kill()
            else:
                self.stop(program)
                self.assertEqual(probe.response_epoch(), 0)
            program = self.serve([LINUX_PAIR], [f"{image}:1"])
            probe.connect()
            probe.write(0, 0, way.encode() * 128)
            self.assertEqual(self.contents(image, 0, 512), way.encode() * 128)

    def test_a_load_goes_on_when_the_backend_is_killed_and_restarted(self) -> None:
        image = self.image("image", 32 * MIB)
        program = self.serve([LINUX_PAIR], [f"{image}:1"])
        load = VerifiedLoad(self.client(), area=16 * MIB, depth=100, reconnect=True)
        for turn in range(6):
            for _ in range(60):
                load.turn()
            if turn % 2:
                program.kill()
            else:
                self.stop(program)
            program = self.serve([LINUX_PAIR], [f"{image}:1"])
        load.run(harness.ANSWER_SECONDS, requests=500)
        self.assertGreaterEqual(load.sessions_lost, 6)

    def test_a_client_of_another_protocol_is_not_served_and_named_in_the_log(self) -> None:
        program = self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        probe = self.client(LINUX_PAIR._replace(request_protocol=muenblock.ADA_PROTOCOLS[0]), connect=False)
        probe.writer.initialise()
        probe.raw(Request(Kind.RESET, tag=1))
        probe.reader.drain()
        self.assertEqual(probe.raw_answers(1, harness.QUIET_SECONDS), [])
        self.assert_logged(program, "(?i)protocol")
        self.assert_serves()


class Ada(harness.BackendCase):
    def serve_ada(self) -> harness.Program:
        self.path = self.image("image", 64 * MIB)
        return self.serve([ADA_PAIR], [f"{self.path}:1"])

    def test_the_original_client_many_times_in_a_row_with_io_in_flight_at_each_end(self) -> None:
        self.serve_ada()
        chance = random.Random(3)
        for turn in range(30):
            content = pattern(turn, 0x40000)
            with Original(ADA_PAIR, self.regions) as run:
                run.initialise()
                self.assertEqual((run.devices, run.info), (1, {
                    Kind.MEDIA_BLOCKS: 0x20000, Kind.BLOCK_LENGTH: 512, Kind.MAX_BLOCKS_COUNT: 65536}), f"run {turn}")
                self.assertEqual(run.smart(), Smart.UNDEFINED)
                self.assertTrue(run.transfer(Kind.DISCARD, 0, 0, 0x40000))
                run.buffer[:0x40000] = content
                self.assertTrue(run.transfer(Kind.WRITE, 0, 0, 0x8000, 8))
                # An answer that came before its time would let these bytes onto the disk.
                run.buffer[:0x80000] = b"!" * 0x80000
                self.assertTrue(run.sync())
                self.assertTrue(run.transfer(Kind.READ, 0, 0x40000, 0x8000, 8))
                self.assertEqual(bytes(run.buffer[0x40000:0x80000]), content, f"run {turn}")
                run.begin(chance.choice((Kind.READ, Kind.WRITE)), 0x10000, 0x100000, 0x10000, chance.randrange(100))
            self.assertEqual(self.contents(self.path, 0, 0x40000), content)

    def test_another_client_after_the_original(self) -> None:
        self.serve_ada()
        for _ in range(2):
            with Original(ADA_PAIR, self.regions) as run:
                run.initialise()
                self.assertTrue(run.transfer(Kind.READ, 0, 0, 4096))
        probe = self.client(ADA_PAIR, client.LINUX)
        probe.write(0, 0, b"l" * 4096)
        self.assertEqual(self.contents(self.path, 0, 4096), b"l" * 4096)

    def test_the_original_client_leaves_the_recorded_requests_behind(self) -> None:
        self.serve_ada()
        client.ada_example(self.client(ADA_PAIR, client.ADA))
        self.assertEqual(bytes(self.region("request").bytes), harness.vector("ada_example_request.bin"))

    def test_the_original_client_may_have_many_in_flight(self) -> None:
        self.serve_ada()
        VerifiedLoad(self.client(ADA_PAIR, client.ADA), depth=200).run(30, requests=1000)

    def replay(self, paced: bool) -> None:
        """The recorded requests under a new epoch, all at once or one after the answer to the other."""
        self.serve_ada()
        recorded = harness.vector("ada_example_request.bin")
        self.assertEqual(len(recorded), 0x8000)
        request, response, buffer = self.region("request"), self.region("response", False), self.region("buffer")
        self.assertEqual((request.size, response.size), (0x8000, 0x4000))
        buffer.bytes[:0x40000] = pattern(9, 0x40000)
        request.words[shmstream.EPOCH] = 0
        request.bytes[16:] = recorded[16:]
        request.bytes[:8] = recorded[:8]
        count = request.words[shmstream.WC]
        self.assertEqual(count, 10)
        for done in range(1, count + 1) if paced else (count,):
            request.words[shmstream.WSC] = request.words[shmstream.WC] = done
            request.words[shmstream.EPOCH] = 0x1234
            harness.wait_until(lambda: response.words[shmstream.WC] >= done, f"{done} answers")
        answers = [muenblock.Response.unpack(bytes(response.bytes[at:at + 16])) for at in range(64, 64 + 160, 16)]
        expected = harness.vector("ada_example_response.bin")
        expected = [muenblock.Response.unpack(expected[at:at + 16]) for at in range(64, 64 + 160, 16)]
        expected[5] = expected[5]._replace(status=Smart.UNDEFINED)
        if paced:
            self.assertEqual(answers, expected)
            self.assertEqual(bytes(buffer.bytes[0x40000:0x80000]), pattern(9, 0x40000))
            self.assertEqual(self.contents(self.path, 0, 0x40000), pattern(9, 0x40000))
        else:
            self.assertCountEqual(answers, expected)
        self.assertEqual(response.words[shmstream.WC], 10)

    def test_the_recorded_session_at_once_gets_the_recorded_answers(self) -> None:
        self.replay(paced=False)

    def test_the_recorded_session_step_by_step_gets_the_recorded_answers_and_data(self) -> None:
        self.replay(paced=True)


if __name__ == "__main__":
    unittest.main()
