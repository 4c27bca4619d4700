"""The Python client against the Python server: that each notices what the other does, or does not."""

import unittest

import client
import evil
import harness
from load import VerifiedLoad
from muenblock import Kind, PeerError, Request, RequestFailed, SessionLost, Status
from original import Original

MIB = 1 << 20


class Plain(harness.PythonServerCase):
    def test_verified_load_with_many_in_flight(self) -> None:
        for options in ((), ("--shuffle", "5"), ("--ada=all,-same-epoch",), ("--offset-unit", "bytes"),
                        ("--block-length", "4096", "--discard", "punch")):
            with self.subTest(options=options):
                connection = harness.LINUX_PAIR
                program = self.serve(connection, self.image("image", 16 * MIB), *options)
                good = self.client(connection, offset_unit=1 if "bytes" in options else 512)
                VerifiedLoad(good, depth=100, merge_safe="--ada=all,-same-epoch" in options).run(20, requests=500)
                self.assertEqual(program.stop(), 0)

    def test_a_load_goes_on_when_the_server_was_killed(self) -> None:
        image = self.image("image", 16 * MIB)
        program = self.serve(harness.LINUX_PAIR, image)
        load = VerifiedLoad(self.client(), depth=50, reconnect=True)
        for _ in range(3):
            for _ in range(50):
                load.turn()
            program.kill()
            program = self.serve(harness.LINUX_PAIR, image)
        load.run(20, requests=200)
        self.assertGreaterEqual(load.sessions_lost, 3)

    def test_bounds_are_checked(self) -> None:
        self.serve(harness.LINUX_PAIR, self.image("image", MIB))
        probe = self.client()
        for request in (Request(Kind.READ, length=512, device_offset=2048), Request(Kind.READ, length=513),
                        Request(Kind.READ, length=512, device_offset=2 ** 55),
                        Request(Kind.READ, length=512, buffer_offset=2 ** 64 - 512),
                        Request(Kind.WRITE, length=512, buffer_offset=16 * MIB)):
            self.assertEqual(probe.status(request), Status.IOERR, request)


    def test_ends_that_sleep_wake_each_other(self) -> None:
        self.serve(harness.LINUX_PAIR, self.image("image", 16 * MIB), "--features")
        with harness.Probe(harness.LINUX_PAIR, self.regions, features=True) as sleeper:
            sleeper.connect()
            for _ in range(300):
                sleeper.exchange([sleeper.request(Kind.READ, 0, 0, 4096, 0)])
            self.assertGreater(sleeper.bell.sleeps, 100)
            self.assertEqual(sleeper.bell.timeouts, 0)
            VerifiedLoad(sleeper, depth=20).run(20, requests=300)


class Ada(harness.PythonServerCase):
    def test_client_and_server_leave_the_recorded_session_behind(self) -> None:
        image = self.image("image", 64 * MIB)
        self.serve(harness.ADA_PAIR, image, "--ada")
        client.ada_example(self.client(harness.ADA_PAIR, client.ADA))
        for name in ("request", "response"):
            self.assertEqual(bytes(self.region(name, writable=False).bytes), harness.vector(f"ada_example_{name}.bin"))

    def test_a_second_run_executes_nothing_and_takes_stale_answers(self) -> None:
        image = self.image("image", 64 * MIB)
        self.serve(harness.ADA_PAIR, image, "--ada")
        for content in (b"1", b"2"):
            with Original(harness.ADA_PAIR, self.regions) as run:
                run.initialise()
                run.buffer[:4096] = content * 4096
                self.assertTrue(run.transfer(Kind.WRITE, 0, 0, 4096))
        self.assertEqual(self.contents(image, 0, 4096), b"1" * 4096)

    def test_neighbours_by_bytes_are_merged_into_one(self) -> None:
        image = self.image("image", MIB)
        self.serve(harness.LINUX_PAIR, image, "--ada=merge")
        probe = self.client()
        probe.buffer[:1024] = b"a" * 512 + b"b" * 512
        probe.exchange([Request(Kind.WRITE, tag=1, length=512, device_offset=0, buffer_offset=0),
                        Request(Kind.WRITE, tag=2, length=512, device_offset=512, buffer_offset=512)])
        self.assertEqual(self.contents(image, 0, 1024), b"a" * 512 + b"b" * 512)
        self.assertEqual(self.contents(image, 512 * 512, 512), bytes(512))

    def test_reset_executes_what_is_queued_without_answering_it(self) -> None:
        image = self.image("image", MIB)
        self.serve(harness.LINUX_PAIR, image, "--ada")
        probe = self.client()
        probe.buffer[:512] = b"q" * 512
        probe.raw(Request(Kind.WRITE, tag=1, length=512), Request(Kind.RESET, tag=2))
        self.assertEqual([answer.tag for answer in probe.raw_answers(2, harness.QUIET_SECONDS)], [2])
        self.assertEqual(self.contents(image, 0, 512), b"q" * 512)

    def test_info_answers_overtake_queued_requests_and_sync_does_not(self) -> None:
        self.serve(harness.LINUX_PAIR, self.image("image", MIB), "--ada")
        probe = self.client()
        probe.raw(Request(Kind.READ, tag=1, length=512), Request(Kind.BLOCK_LENGTH, tag=2), Request(Kind.SYNC, tag=3))
        self.assertEqual([answer.tag for answer in probe.raw_answers(3)], [2, 1, 3])

    def test_some_kinds_are_not_answered_and_devices_outside_with_1_or_0(self) -> None:
        self.serve(harness.LINUX_PAIR, self.image("image", MIB), "--ada")
        probe = self.client()
        probe.raw(*(Request(kind, tag=number) for number, kind in enumerate((Kind.NONE, Kind.MAX_REQUESTS, 0x21, 6))))
        self.assertEqual(probe.raw_answers(1, harness.QUIET_SECONDS), [])
        for kind in Kind:
            expected = kind in (Kind.NONE, Kind.READ, Kind.WRITE, Kind.DISCARD, Kind.SYNC, Kind.RESET)
            self.assertEqual(probe.status(Request(kind, device=1, length=512)), expected, kind)


class Evil(harness.PythonServerCase):
    # What a client that trusts nobody says to each misdeed; the others end in silence or a lost session.
    NOTICED = {
        "wrong-tag": "nothing asked for", "wrong-kind": "was answered with", "wrong-device": "was answered with",
        "duplicate": "nothing asked for", "unsolicited": "nothing asked for", "many-devices": "65536 devices",
        "zero-geometry": "cannot be", "header": "", "garbage": "", "lost": "", "silence": "in time",
        "epoch-flips": "", "same-epoch": "", "inactive": "", "backwards": "", "ahead": "nothing asked for",
        "huge": "", "overrun": "", "wrong-status": "was answered with", "shrink": "others now", "grow": "others now",
        "block-length": "others now", "no-devices": "", "huge-geometry": "cannot be",
    }
    # Of these a client sees nothing, or nothing but other data, which a server may always give it.
    UNNOTICED = ("resize", "hints", "buffer")

    def test_every_misdeed_is_noticed_and_reads_no_wrong_data(self) -> None:
        self.assertEqual({*self.NOTICED, *self.UNNOTICED}, set(evil.MISDEEDS))
        for name, text in self.NOTICED.items():
            with self.subTest(misdeed=name):
                after = "0" if "geometry" in name or name == "many-devices" else "40"
                program = self.serve(harness.LINUX_PAIR, self.image("image", 16 * MIB), "--evil", name,
                                     "--evil-after", after)
                probe = harness.Probe(harness.LINUX_PAIR, self.regions, timeout=1)
                try:
                    with self.assertRaises((PeerError, RequestFailed, SessionLost)) as caught:
                        probe.connect()
                        reconnect = name in ("shrink", "grow", "block-length", "no-devices")
                        VerifiedLoad(probe, depth=20, reconnect=reconnect).run(5)
                        raise PeerError("nothing was noticed")
                    self.assertIn(text, str(caught.exception))
                    self.assertNotRegex(str(caught.exception), "wrong data|nothing was noticed")
                finally:
                    probe.close()
                    program.kill()

    def test_misdeeds_end_and_the_server_is_a_good_one_again(self) -> None:
        for options in (("epoch-flips", "--evil-for", "5"), ("silence", "--evil-seconds", "0.3", "--evil-after", "50"),
                        ("inactive", "--evil-seconds", "0.3", "--evil-after", "50")):
            with self.subTest(options=options):
                program = self.serve(harness.LINUX_PAIR, self.image("image", 16 * MIB), "--evil", *options)
                load = VerifiedLoad(self.client(), depth=20, reconnect=True)
                load.run(20, requests=300)
                self.assertGreater(load.sessions_lost, 0)
                program.stop()


if __name__ == "__main__":
    unittest.main()
