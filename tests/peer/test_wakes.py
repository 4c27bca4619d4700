"""The wake hint between muenblock-backend and a client that agreed to it."""

import random
import time
import unittest

import harness
import shmstream
from harness import LINUX_PAIR
from load import VerifiedLoad
from muenblock import Kind, Request

MIB = 1 << 20
ATTACK_SECONDS = 3
# What neither end was woken for is found by a heartbeat, half a second later on the average. A machine that is busy may take as long now and then.
SLOW_SECONDS = 0.25
FEW_SLOW = 5


class Wakes(harness.BackendCase):
    """The wake hint: neither end may sleep through what the other wrote."""

    def test_a_client_that_sleeps_is_woken_for_each_answer_and_wakes_the_backend(self) -> None:
        for options in ((), ("--spin", "0"), ("--spin", "200")):
            with self.subTest(options=options):
                program = self.serve([LINUX_PAIR], [f"{self.image('image', 4 * MIB)}:1"], *options)
                with harness.Probe(LINUX_PAIR, self.regions, features=True) as sleeper:
                    sleeper.connect()
                    chance = random.Random(71)
                    slow = 0
                    for turn in range(1500):
                        kind = chance.choice((Kind.READ, Kind.MEDIA_BLOCKS, Kind.WRITE))
                        began = time.monotonic()
                        sleeper.exchange([sleeper.request(kind, 0, 0, 4096, 0)])
                        slow += time.monotonic() - began > SLOW_SECONDS
                        # From none at all to long enough for the backend to fall asleep, and all between.
                        pause = chance.choice((0, 0, 1e-6, 1e-5, 5e-5, 1e-4, 1e-3))
                        if pause:
                            time.sleep(pause)
                    self.assertGreater(sleeper.bell.sleeps, 100)
                    self.assertGreater(sleeper.bell.wakes, 10)
                    self.assertEqual(sleeper.bell.timeouts, 0, "the backend did not wake a sleeper")
                    self.assertLessEqual(slow, 3 * FEW_SLOW, "the backend slept through requests")
                self.stop(program)

    def test_a_successor_is_woken_whatever_its_predecessor_was_woken_for(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        slow = 0
        for session in range(60):
            with harness.Probe(LINUX_PAIR, self.regions, features=True) as sleeper:
                began = time.monotonic()
                sleeper.connect()
                slow += time.monotonic() - began > SLOW_SECONDS
                self.assertEqual(sleeper.bell.timeouts, 0, f"session {session}")
            time.sleep(0.01)    # the backend falls asleep, and reads the requests of the next one by one
        self.assertLessEqual(slow, FEW_SLOW, "the backend slept through requests")

    def test_a_load_with_sleeping_ends_is_verified(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', 16 * MIB)}:1"])
        with harness.Probe(LINUX_PAIR, self.regions, features=True) as sleeper:
            sleeper.connect()
            VerifiedLoad(sleeper, depth=8).run(harness.ANSWER_SECONDS, requests=500)

    def test_a_plain_client_is_served_after_one_that_agreed_to_wake_and_was_killed(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', MIB)}:1"])
        sleeper = self.client(features=True)
        sleeper.ask(Kind.MEDIA_BLOCKS)
        time.sleep(0.3)
        self.assertNotEqual(sleeper.response_region.words[shmstream.RESERVED], 0, "the backend does not sleep")
        # It ends without a word, and its successor knows nothing of wakes.
        with harness.Probe(LINUX_PAIR, self.regions, timeout=harness.ANSWER_SECONDS) as plain:
            plain.connect()
            self.assertEqual(plain.ask(Kind.MEDIA_BLOCKS), [2048])

    def test_a_new_epoch_wakes_whoever_sleeps(self) -> None:
        image = self.image("image", MIB)
        program = self.serve([LINUX_PAIR], [f"{image}:1"])
        with harness.Probe(LINUX_PAIR, self.regions, features=True) as sleeper:
            sleeper.connect()
            for way in (self.stop, harness.Program.kill):
                way(program)
                program = self.serve([LINUX_PAIR], [f"{image}:1"])
                sleeper.connect()
                # Under a new epoch, written while the backend may be asleep.
                time.sleep(0.05)
                sleeper.connect()
                self.assertEqual(sleeper.ask(Kind.MEDIA_BLOCKS), [2048])
            self.assertEqual(sleeper.bell.timeouts, 0)


class Hints(harness.BackendCase):
    def test_hints_at_random_and_wakes_never(self) -> None:
        self.serve([LINUX_PAIR], [f"{self.image('image', 4 * MIB)}:1"])
        attacker = self.client(features=True)
        chance = random.Random(45)
        hint = attacker.request_region.words
        end = time.monotonic() + ATTACK_SECONDS
        done = 0
        while time.monotonic() < end:
            hint[shmstream.RESERVED] = chance.choice((0, 1, 2 ** 64 - 1, chance.randrange(2 ** 64)))
            attacker.raw(Request(Kind.READ, 0, done, 4096))     # which does not ring
            hint[shmstream.RESERVED] = chance.choice((0, 1, 2 ** 64 - 1, chance.randrange(2 ** 64)))
            if chance.random() < 0.3:
                attacker.bell.ring()
            attacker.raw_answers(1, chance.choice((0, 0.0005, 0.01)))
            done += 1
        attacker.bell.ring()
        attacker.writer.deactivate()
        attacker.bell.ring(began_anew=True)
        self.assert_serves()


if __name__ == "__main__":
    unittest.main()
