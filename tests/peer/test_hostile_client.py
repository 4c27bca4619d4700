"""muenblock-backend with a hostile client: after each attack it serves a good one, and its log names the rule."""

import os
import random
import signal
import time
import unittest
from typing import Callable

import harness
import muenblock
import shmstream
from harness import LINUX_PAIR, SECOND_PAIR
from load import VerifiedLoad
from muenblock import Kind, Request, Status

MIB = 1 << 20
ATTACK_SECONDS = 3
# How much more memory a backend may take after an attack: a leak of any size per packet would be far more.
GROWTH_KIB_MAX = 64 << 10
# What the log says of the rules of the channel (docs/security.md).
OVERRUN = "session dropped, rule RequestsInFlightFitTheChannel: "
OTHER_HEADER = "not what was agreed, rule ChannelsAreAsAgreed: "


class HostileCase(harness.BackendCase):
    """A backend with one image on the connection that is attacked."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.image("image", 4 * MIB)
        self.program = self.serve([LINUX_PAIR], [f"{self.path}:1"])

    def attacker(self, connect: bool = True) -> harness.Probe:
        return self.client(connect=connect)

    def assert_recovers(self, pattern: str) -> None:
        """A line that matches names what was wrong; and good clients are served, whatever is in the channel."""
        self.assert_logged(self.program, pattern)
        self.assert_serves()
        self.assert_serves()

    def answers_by_tag(self, answers: list) -> dict:
        found: dict = {}
        for answer in answers:
            found.setdefault(answer.tag, []).append(answer)
        return found


class Requests(HostileCase):
    def test_requests_that_break_rules_are_refused_each_with_its_own_answer(self) -> None:
        attacker = self.attacker()
        bad = [Request(kind, 0, tag, length, offset, buffer) for tag, (kind, length, offset, buffer) in enumerate(
            (kind, length, offset, buffer) for kind in (Kind.READ, Kind.WRITE)
            for length, offset, buffer in ((0, 0, 0), (513, 0, 0), (512, 2 ** 55, 0), (512, 8192, 0),
                                           (512, 0, 2 ** 64 - 512), (2 ** 64 - 512, 1, 512), (512, 0, 77)))]
        for _ in range(20):
            attacker.raw(*bad)
            found = self.answers_by_tag(attacker.raw_answers(len(bad)))
            self.assertEqual({tag: [answer.status for answer in answers] for tag, answers in found.items()},
                             {request.tag: [Status.IOERR] for request in bad})
        self.assertEqual(self.contents(self.path, 0, MIB), bytes(MIB))
        for rule in ("LengthIsWholeBlocks", "LengthIsBounded", "RangeIsOnDevice", "BufferIsAligned", "RangeIsInBuffer"):
            self.assert_logged(self.program, f"rule {rule}:")
        self.assert_recovers("request refused, rule LengthIsWholeBlocks: kind Read, device 0")

    def test_unknown_kinds_and_devices_are_refused(self) -> None:
        attacker = self.attacker()
        self.assertEqual(attacker.status(Request(Kind.NONE, length=512)), Status.NOTSUPP)
        self.assertEqual(attacker.status(Request(0x7777)), 0)
        self.assertEqual(attacker.status(Request(Kind.READ, 1, length=512)), Status.NOTSUPP)
        self.assertEqual(attacker.status(Request(Kind.MEDIA_BLOCKS, 0xFFFF)), 0)
        self.assert_logged(self.program, "rule KindIsKnown: kind (None|0), device 0")
        self.assert_logged(self.program, "rule KindIsKnown: kind 30583, device 0")
        self.assert_recovers("rule DeviceExists: kind Read, device 1")

    def test_tags_in_flight_twice_are_both_answered(self) -> None:
        attacker = self.attacker()
        for _ in range(20):
            attacker.raw(*(Request(Kind.READ, 0, 7, 4096, 0, slot * 4096) for slot in range(200)))
            answers = attacker.raw_answers(200)
            self.assertEqual(len(answers), 200)
            self.assertEqual({answer[:3] for answer in answers}, {(Kind.READ, 0, 7)})
            self.assertLessEqual({answer.status for answer in answers}, {Status.OK, Status.IOERR, Status.RESOURCE})
        self.assertEqual(attacker.raw_answers(1, harness.QUIET_SECONDS), [])
        self.assert_serves()

    def test_random_requests_get_the_answers_that_the_rules_say(self) -> None:
        attacker = self.attacker()
        chance = random.Random(21)
        buffer, size = len(attacker.buffer), 4 * MIB
        lengths = [0, 1, 511, 512, 513, 4096, 65536, size, size + 512, buffer, buffer + 512, 2 ** 63, 2 ** 64 - 512,
                   2 ** 64 - 1]
        offsets = [0, 1, 2, 8190, 8191, 8192, 2 ** 32, 2 ** 55 - 1, 2 ** 55, 2 ** 55 + 1, 2 ** 63, 2 ** 64 - 1]
        places = [0, 1, 256, 512, 4096, buffer - 512, buffer, buffer - 1, 2 ** 63, 2 ** 64 - 512, 2 ** 64 - 1]
        kinds = [Kind.READ, Kind.WRITE, Kind.DISCARD, Kind.SYNC, Kind.MEDIA_BLOCKS, Kind.BLOCK_LENGTH, Kind.NONE]
        end = time.monotonic() + ATTACK_SECONDS
        seen = set()
        while time.monotonic() < end:
            batch = [Request(chance.choice(kinds), chance.choice((0, 0, 0, 0, 1, 0xFFFF)), tag, chance.choice(lengths),
                             chance.choice(offsets), chance.choice(places)) for tag in range(chance.randint(1, 200))]
            attacker.raw(*batch)
            answers = {answer.tag: answer for answer in attacker.raw_answers(len(batch))}
            self.assertEqual(len(answers), len(batch))
            for request in batch:
                expected = self.expected(request, size, buffer)
                self.assertEqual(answers[request.tag], muenblock.answer(request, expected), request)
                seen.add((request.kind, expected))
        for kind in muenblock.TRANSFERS:
            self.assertLessEqual({(kind, Status.OK), (kind, Status.IOERR), (kind, Status.NOTSUPP)}, seen)
        self.assertEqual(os.path.getsize(self.path), size)
        self.assert_recovers(r"request refused, rule \w+: kind")

    @staticmethod
    def expected(request: Request, size: int, buffer: int) -> int:
        """The status that the specification demands, worked out with numbers that cannot overflow."""
        if request.device != 0:
            return Status.NOTSUPP if request.kind in muenblock.WITH_STATUS else 0
        if request.kind in muenblock.TRANSFERS:
            start = request.device_offset * 512
            good = request.length > 0 and request.length % 512 == 0 and start + request.length <= size
            if request.kind != Kind.DISCARD:
                good = good and request.buffer_offset % 512 == 0 and request.buffer_offset + request.length <= buffer
            return Status.OK if good else Status.IOERR
        return {Kind.SYNC: Status.OK, Kind.MEDIA_BLOCKS: size // 512, Kind.BLOCK_LENGTH: 512,
                Kind.NONE: Status.NOTSUPP}[request.kind]

    def test_many_resets_among_requests_in_flight(self) -> None:
        attacker = self.attacker()
        chance = random.Random(22)
        for turn in range(100):
            kinds = chance.choices((Kind.READ, Kind.WRITE, Kind.RESET, Kind.SYNC), k=50)
            attacker.raw(*(Request(kind, 0, tag, 65536, tag, tag * 65536) for tag, kind in enumerate(kinds)),
                         Request(Kind.RESET, 0, 0x10000 + turn))
            tags = []
            while 0x10000 + turn not in tags:
                fresh = attacker.raw_answers(1)
                self.assertTrue(fresh, "a Reset was not answered")
                tags += [answer.tag for answer in fresh]
            # What comes before a Reset need not be answered, but nothing is answered twice.
            self.assertEqual(len(tags), len(set(tags)))
        self.assert_serves()

    def test_the_buffer_may_change_while_it_is_written_to_the_disk(self) -> None:
        attacker = self.attacker()
        end = time.monotonic() + 1
        tag = 0
        while time.monotonic() < end:
            attacker.raw(*(Request(Kind.WRITE, 0, tag + slot, 65536, slot * 128, slot * 65536) for slot in range(32)))
            for _ in range(20):
                attacker.buffer[:32 * 65536] = os.urandom(32) * 65536
            self.assertEqual({answer.status for answer in attacker.raw_answers(32)}, {0})
            tag += 32
        self.assert_serves()


class ReadOnly(harness.BackendCase):
    def test_a_read_only_export_is_not_written(self) -> None:
        path = self.image("image", MIB)
        program = self.serve([LINUX_PAIR], [f"{path}:1"], "--read-only")
        attacker = self.client()
        attacker.buffer[:512] = b"x" * 512
        for kind in (Kind.WRITE, Kind.DISCARD):
            self.assertNotEqual(attacker.status(Request(kind, length=512)), Status.OK)
        self.assert_logged(program, "rule DeviceIsWritable: kind Write, device 0")
        self.assert_logged(program, "rule DeviceIsWritable: kind Discard, device 0")
        self.assertEqual(attacker.status(Request(Kind.READ, length=512)), Status.OK)
        self.assertEqual(self.contents(path, 0, MIB), bytes(MIB))


class Counters(HostileCase):
    def test_an_overrun_ends_the_session_by_a_new_epoch(self) -> None:
        attacker = self.attacker()
        before = attacker.response_epoch()
        words = attacker.request_region.words
        words[shmstream.WSC] = words[shmstream.WSC] + 5000
        words[shmstream.WC] = words[shmstream.WC] + 5000
        harness.wait_until(lambda: attacker.response_epoch() not in (0, before), "a new epoch of the response channel")
        self.assert_recovers(OVERRUN)

    def test_a_client_that_never_waits(self) -> None:
        attacker = self.attacker()
        end = time.monotonic() + ATTACK_SECONDS
        packets = [Request(Kind.READ, 0, tag, 4096, 0, 0).pack() for tag in range(attacker.writer.elements)]
        memory = self.program.resident_kib()
        while time.monotonic() < end:
            attacker.writer.write(*packets)
        self.assertLess(self.program.resident_kib(), memory + GROWTH_KIB_MAX)
        self.assert_recovers(OVERRUN)

    def test_wsc_alone_far_ahead(self) -> None:
        attacker = self.attacker()
        attacker.request_region.words[shmstream.WSC] = 2 ** 64 - 1
        attacker.request_region.words[shmstream.WC] = attacker.request_region.words[shmstream.WC] + 1
        self.assert_recovers(OVERRUN)

    def test_wc_ahead_of_wsc_reads_old_packets_at_most(self) -> None:
        attacker = self.attacker()
        attacker.buffer[:4096] = b"x" * 4096
        words = attacker.request_region.words
        for step in (1, 10, 500, 1021, 1022, 1023, 2 ** 32, 2 ** 63):
            words[shmstream.WC] = (words[shmstream.WC] + step) % 2 ** 64
            time.sleep(0.02)
        self.assertEqual(self.contents(self.path, 0, 4096), bytes(4096))
        self.assert_serves()
        self.assert_serves()

    def test_wc_backwards_is_a_new_session_in_which_nothing_is_executed_before_a_reset(self) -> None:
        attacker = self.attacker()
        attacker.buffer[:512] = b"x" * 512
        for _ in range(20):
            self.assertEqual(attacker.status(Request(Kind.READ, length=512, buffer_offset=512)), 0)
        # The Reset of the session before is the first packet, and would begin the new one.
        attacker.request_region.bytes[64:128] = bytes(64)
        words = attacker.request_region.words
        words[shmstream.WSC] = words[shmstream.WC] = 2
        time.sleep(harness.QUIET_SECONDS)
        attacker.writer.written = 2
        attacker.raw(Request(Kind.WRITE, tag=1, length=512))
        answers = attacker.raw_answers(1, harness.QUIET_SECONDS)
        self.assertFalse([answer for answer in answers if answer.kind == Kind.WRITE and answer.status == 0])
        self.assertEqual(self.contents(self.path, 0, 512), bytes(512))
        self.assert_serves()

    def test_random_counters_for_some_seconds(self) -> None:
        attacker = self.attacker()
        chance = random.Random(31)
        words = attacker.request_region.words
        end = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < end:
            value = chance.choice((0, 1, 5, 1021, 1022, 1023, 2044, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 63, 2 ** 64 - 1,
                                   2 ** 64 - 1022, chance.randrange(2 ** 64)))
            words[chance.choice((shmstream.WSC, shmstream.WC))] = value
            time.sleep(chance.choice((0, 0.0001, 0.001)))
        self.assert_recovers(OVERRUN)


class Epochs(HostileCase):
    def test_epoch_flips_for_some_seconds(self) -> None:
        attacker = self.attacker()
        chance = random.Random(41)
        words = attacker.request_region.words
        reset = Request(Kind.RESET, tag=3).pack()
        end = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < end:
            way = chance.random()
            if way < 0.4:
                words[shmstream.EPOCH] = chance.choice((0, 1, 2, chance.randrange(2 ** 64)))
            else:
                attacker.writer.initialise(chance.choice((1, 2, None)), clear=False)
                attacker.writer.write(reset, Request(Kind.WRITE, 0, 5, 65536, 0, 0).pack())
            time.sleep(chance.choice((0, 0, 0.0005, 0.003)))
        # Beside the one of each client that is welcome.
        self.assertGreater(sum("a client began a session" in line for line in self.program.log()), 10)
        self.assert_serves()
        self.assert_serves()

    def test_epochs_that_end_while_requests_are_in_flight(self) -> None:
        attacker = self.attacker(connect=False)
        for turn in range(200):
            attacker.writer.initialise()
            attacker.raw(Request(Kind.RESET, tag=turn), *(Request(Kind.WRITE, 0, tag, 65536, tag * 128, tag * 65536)
                                                          for tag in range(60)))
            if turn % 3 == 0:
                time.sleep(0.002)
            if turn % 5 == 0:
                attacker.writer.deactivate()
        self.assert_serves()


class Headers(HostileCase):
    def test_each_wrong_field_of_the_header_is_refused(self) -> None:
        attacker = self.attacker()
        words = attacker.request_region.words
        good = [words[index] for index in range(8)]
        for index, values in ((shmstream.TRANSPORT, (0, 1, 2 ** 64 - 1)), (shmstream.PROTOCOL, (0, 1)),
                              (shmstream.SIZE, (0, 1, 16, 64, 2 ** 63, 2 ** 64 - 32)),
                              (shmstream.ELEMENTS, (0, 1, 511, 1021, 1023, 2 ** 59, 2 ** 64 - 1))):
            for value in values:
                before = attacker.response_region.words[shmstream.WC], attacker.response_epoch()
                words[shmstream.EPOCH] = 0
                for field in range(8):
                    words[field] = 0 if field == shmstream.EPOCH else good[field]
                words[index] = value
                words[shmstream.EPOCH] = good[shmstream.EPOCH] ^ (index << 8) ^ value & 0xFF ^ 1 << 40
                time.sleep(0.02)
                self.assertEqual((attacker.response_region.words[shmstream.WC], attacker.response_epoch()), before,
                                 (index, value))
        self.assert_recovers(OTHER_HEADER)

    def test_each_field_of_the_header_that_the_client_may_not_write_is_mended(self) -> None:
        self.assert_serves()
        region = self.region("response")
        for index in (shmstream.TRANSPORT, shmstream.EPOCH, shmstream.PROTOCOL, shmstream.SIZE, shmstream.ELEMENTS,
                      shmstream.WC):
            before = region.words[shmstream.EPOCH]
            region.words[index] = 0 if index == shmstream.EPOCH else 2 ** 64 - 1
            harness.wait_until(lambda: region.words[shmstream.EPOCH] not in (0, before), "a new epoch")
            self.assert_serves()
        self.assert_logged(self.program, "rule OnlyItsWriterChangesAChannel")

    def test_another_shape_of_the_same_product_is_refused(self) -> None:
        attacker = self.attacker(connect=False)
        region = attacker.request_region
        attacker.reader.drain()
        attacker.writer.initialise(5)
        region.words[shmstream.EPOCH] = 0
        region.words[shmstream.SIZE], region.words[shmstream.ELEMENTS] = 64, 511
        region.bytes[64:96] = Request(Kind.RESET, tag=9).pack()
        region.words[shmstream.WSC] = region.words[shmstream.WC] = 1
        region.words[shmstream.EPOCH] = 6
        self.assertEqual(attacker.raw_answers(1, harness.QUIET_SECONDS), [])
        self.assert_recovers(OTHER_HEADER)

    def test_size_and_elements_are_not_read_again_within_an_epoch(self) -> None:
        attacker = self.attacker()
        region = attacker.request_region
        region.words[shmstream.SIZE], region.words[shmstream.ELEMENTS] = 2 ** 63, 2 ** 64 - 1
        for turn in range(2000):
            self.assertEqual(attacker.status(Request(Kind.MEDIA_BLOCKS)), 8192)
        self.assert_serves()

    def test_random_headers_for_some_seconds(self) -> None:
        attacker = self.attacker()
        chance = random.Random(51)
        words = attacker.request_region.words
        end = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < end:
            for index in range(8):
                words[index] = chance.randrange(2 ** 64) if chance.random() < 0.5 else chance.choice(
                    (0, 1, 32, 1022, shmstream.MARKER, LINUX_PAIR.request_protocol))
            if chance.random() < 0.3:
                attacker.writer.initialise(clear=False)
            time.sleep(chance.choice((0, 0.0002, 0.002)))
        self.assert_recovers(OTHER_HEADER)


class TwoConnections(harness.BackendCase):
    def test_random_bytes_over_one_channel_do_not_disturb_the_other(self) -> None:
        victims, target = self.image("image1", 16 * MIB), self.image("image2", 4 * MIB)
        program = self.serve([LINUX_PAIR, SECOND_PAIR], [f"{target}:1", f"{victims}:2"])
        chance = random.Random(61)
        attacker = self.client(LINUX_PAIR)
        load = VerifiedLoad(self.client(SECOND_PAIR), area=8 * MIB, depth=32)
        memory = program.resident_kib()
        end = time.monotonic() + ATTACK_SECONDS + 2
        region = attacker.request_region
        turns = 0
        while time.monotonic() < end:
            load.turn()
            turns += 1
            way = chance.random()
            if way < 0.3:
                region.bytes[:] = os.urandom(region.size)
            elif way < 0.5:
                # A good header over random packets, of which some are nearly good.
                attacker.writer.initialise(chance.choice((1, None)))
                region.bytes[64:] = os.urandom(region.size - 64)
                attacker.writer.write(Request(Kind.RESET, tag=1).pack(), *(
                    Request(chance.randrange(32), chance.randrange(2), tag,
                            *(chance.choice((near, chance.randrange(2 ** 64))) for near in (512, 0, 0))).pack()
                    for tag in range(20)))
                region.words[shmstream.WC] = region.words[shmstream.WSC] = chance.choice((21, 500, 1022))
            elif way < 0.6:
                attacker.buffer[:65536] = os.urandom(65536)
            time.sleep(0.0003)
        load.finish()
        self.assertGreater(load.counts[Kind.READ] + load.counts[Kind.WRITE], 100)
        self.assertEqual(load.sessions_lost, 0)
        self.assertLess(program.resident_kib(), memory + GROWTH_KIB_MAX)
        self.assertEqual((os.path.getsize(target), os.path.getsize(victims)), (4 * MIB, 16 * MIB))
        self.assert_serves(LINUX_PAIR)
        self.assert_serves(SECOND_PAIR)

    def test_a_client_that_never_waits_leaves_the_other_its_turn(self) -> None:
        first, second = self.image("image1", 4 * MIB), self.image("image2", 4 * MIB)
        self.serve([LINUX_PAIR, SECOND_PAIR], [f"{first}:1", f"{second}:2"])
        attacker = self.client(LINUX_PAIR)
        load = VerifiedLoad(self.client(SECOND_PAIR), depth=16)
        packets = [Request(Kind.READ, 0, tag, 65536, 0, 0).pack() for tag in range(attacker.writer.elements)]
        end = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < end:
            attacker.writer.write(*packets)
            load.turn()
        load.finish()
        self.assertEqual(load.sessions_lost, 0)
        self.assert_serves(LINUX_PAIR)


class TruncatedRegions(harness.BackendCase):
    def setUp(self) -> None:
        super().setUp()
        target, victims = self.image("image1", 4 * MIB), self.image("image2", 16 * MIB)
        self.program = self.serve([LINUX_PAIR, SECOND_PAIR], [f"{target}:1", f"{victims}:2"])

    def truncate(self, name: str, size: int) -> None:
        os.truncate(os.path.join(self.regions, name), size)

    def losses(self) -> int:
        return sum("rule RegionsKeepTheirSize" in line for line in self.program.log())

    def load_until(self, load: VerifiedLoad, look: Callable[[], object], what: str) -> None:
        end = time.monotonic() + harness.ANSWER_SECONDS
        while not look():
            self.assertLess(time.monotonic(), end, f"not in time: {what}")
            load.turn()

    def test_a_truncated_region_ends_its_own_connection_until_it_is_whole_again(self) -> None:
        load = VerifiedLoad(self.client(SECOND_PAIR), area=8 * MIB, depth=32)
        for turn, (name, rest) in enumerate((("request", 0), ("request", 4096), ("response", 0), ("buffer", 0),
                                             ("buffer", MIB)), 1):
            with self.subTest(region=name, rest=rest):
                whole = os.path.getsize(os.path.join(self.regions, name))
                attacker = harness.Probe(LINUX_PAIR, self.regions, timeout=harness.ANSWER_SECONDS)
                attacker.connect()
                attacker.raw(*(Request(muenblock.TRANSFERS[tag % 2], 0, tag, 65536, 0, tag * 65536) for tag in range(64)))
                attacker.close(deactivate=False)    # Python would not survive an access to what is cut off
                self.truncate(name, rest)
                self.load_until(load, lambda: self.losses() == turn, "a line that names the rule")
                self.assertIn(f"region {name} was truncated", "\n".join(self.program.log()))
                # Nothing is tried again and again meanwhile.
                load.finish()
                used = self.program.cpu_seconds()
                time.sleep(0.5)
                self.assertLess(self.program.cpu_seconds() - used, 0.2)
                self.truncate(name, whole)
                self.assert_serves(LINUX_PAIR)
        load.run(1)
        self.assertEqual(load.sessions_lost, 0)

    def test_a_region_that_is_whole_again_before_anybody_looked_serves_the_next_session(self) -> None:
        for _ in range(3):
            for name in ("request", "response", "buffer"):
                with self.subTest(region=name):
                    self.assert_serves(LINUX_PAIR)
                    whole = os.path.getsize(os.path.join(self.regions, name))
                    self.truncate(name, 0)
                    self.truncate(name, whole)
                    self.assert_serves(LINUX_PAIR)

    def test_a_buffer_that_was_truncated_for_a_moment_serves_the_same_session_again(self) -> None:
        client = self.client(LINUX_PAIR)
        client.write(0, 0, b"x" * 4096)
        whole = os.path.getsize(os.path.join(self.regions, "buffer"))
        self.truncate("buffer", 0)
        self.truncate("buffer", whole)

        def is_served() -> bool:
            try:
                return client.read(0, 0, 4096) == b"x" * 4096
            except (muenblock.PeerError, muenblock.SessionLost):
                client.connect()    # the backend saw it while it was truncated, and dropped the session
                return False
        harness.wait_until(is_served, "the buffer's new pages")

    def test_a_region_that_is_truncated_all_the_time_costs_a_bounded_log(self) -> None:
        load = VerifiedLoad(self.client(SECOND_PAIR), area=8 * MIB, depth=32)
        memory, end = self.program.resident_kib(), time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < end:
            for name in ("request", "response", "buffer"):
                whole = os.path.getsize(os.path.join(self.regions, name))
                self.truncate(name, 0)
                load.turn()
                self.truncate(name, whole)
        load.finish()
        self.assertGreater(self.losses(), 0)
        self.assertLess(self.program.resident_kib(), memory + GROWTH_KIB_MAX)
        self.assert_serves(LINUX_PAIR)

    def test_a_bus_error_that_is_no_regions_ends_the_backend_as_ever(self) -> None:
        self.program.end_checked = True
        for _ in range(2):      # the first one is taken for the repeat of an access, which would come at once
            self.program.process.send_signal(signal.SIGBUS)
            time.sleep(0.1)
        self.assertEqual(self.program.process.wait(harness.STOP_SECONDS), -signal.SIGBUS)


if __name__ == "__main__":
    unittest.main()
