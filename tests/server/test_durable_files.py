"""The log's folder when it is damaged, foreign, shared or unreadable (contract 11): clear words, never a wrong event."""

import errno
import os
import random
import shutil

import pytest

from support import sandbox
from support.history import numbers_of, page, pages, publish_many
from support.process import BINARY, PANIC, run_to_end
from support.storage import Attempt, durable, file_that_holds, files, kill, log_command
from support.web import RawConnection, encode_publish

MEGABYTE = 1 << 20
EVENTS = 60


def mark(n: int) -> bytes:
    return b"mark-%d-mark" % n


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def written(start_courier, folder) -> list[str]:
    """A folder with the log of a server that stopped cleanly: `EVENTS` events on channel `a`. Answers their positions."""
    courier = start_courier(durable(folder))
    ids = [courier.publish("a", {"n": n, "mark": mark(n).decode()})["id"] for n in range(EVENTS)]
    courier.stop()
    return ids


@pytest.fixture
def attempt(folder):
    """Starts on a folder that is not as it was: it serves, or it refuses in clear words."""
    attempts: list[Attempt] = []

    def start(where=None) -> Attempt:
        attempts.append(Attempt(where or folder))
        return attempts[-1]

    yield start
    for started in attempts:
        started.end()


def held(courier, ids: list[str]) -> list[int]:
    """Which of the events are there: each verbatim under its old position, in order, or not at all."""
    events = pages(courier, "a", 1000)
    numbers = [event["event"]["n"] for event in events]
    assert numbers == sorted(set(numbers))
    for event in events:
        n = event["event"]["n"]
        assert event["event"] == {"n": n, "mark": mark(n).decode()} and event["id"] == ids[n], event
    return numbers


def goes_on(courier, ids: list[str]):
    """New events get positions that no old one had, and are kept."""
    new = courier.publish("a", {"n": 1000, "mark": mark(1000).decode()})
    assert new["id"] not in ids and new["stored"] == "disk"
    assert pages(courier, "a", 1000)[-1]["id"] == new["id"]


def newer_version(segment: bytes) -> bytes:
    """The segment as a later Courier would write it: both copies of its header say the next version (src/log)."""
    data = bytearray(segment)
    for at in (0, 2048):
        data[at + 12] += 1
        data[at + 8 : at + 12] = crc32c(data[at + 12 : at + 64]).to_bytes(4, "little")
    return bytes(data)


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720 B.4), a bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class TestDamage:
    @pytest.mark.parametrize("cut", [1, 7, 100, 700])
    def test_torn_tail_is_cut_with_a_word_and_nothing_before_is_lost(self, attempt, folder, written, cut):
        segment = file_that_holds(folder, mark(EVENTS - 1))
        data = segment.read_bytes()
        end = data.rindex(mark(EVENTS - 1)) + len(mark(EVENTS - 1))
        os.truncate(segment, max(end - cut, 0))
        whole = [n for n in range(EVENTS) if 0 <= data.find(mark(n)) < end - cut - 20]
        start = attempt()
        assert start.courier, start.refusal
        numbers = held(start.courier, written)
        assert numbers == list(range(len(numbers))) and set(whole) <= set(numbers) and EVENTS - 1 not in numbers
        assert segment.name in start.words(), "a log line tells"
        goes_on(start.courier, written)

    def test_tail_of_garbage_is_cut(self, attempt, folder, written):
        segment = file_that_holds(folder, mark(EVENTS - 1))
        with segment.open("ab") as file:
            file.write(random.Random(1).randbytes(5000))
        start = attempt()
        assert start.courier, start.refusal
        assert held(start.courier, written) == list(range(EVENTS))
        goes_on(start.courier, written)

    def test_single_flipped_bits_never_become_an_event(self, attempt, folder, written, tmp_path):
        """Of 12 copies each has one bit flipped somewhere in what was written. Damage in record k leaves all before k."""
        segment = file_that_holds(folder, mark(0))
        data = segment.read_bytes()
        first, end = data.index(mark(0)), data.rindex(mark(EVENTS - 1)) + 20
        dice = random.Random(7)
        for turn in range(12):
            place = dice.randrange(0 if turn < 3 else first, end)
            copy = shutil.copytree(folder, tmp_path / f"copy{turn}")
            damaged = copy / segment.relative_to(folder)
            bytes_now = bytearray(data)
            bytes_now[place] ^= 1 << dice.randrange(8)
            damaged.write_bytes(bytes_now)
            start = attempt(copy)
            if start.courier is None:
                assert damaged.name in start.refusal and place < first, (place, start.refusal)
                continue
            numbers = held(start.courier, written)
            untouched = [n for n in range(EVENTS) if 0 <= data.find(mark(n)) and data.find(mark(n)) + 120 < place]
            assert set(untouched) <= set(numbers), (place, numbers)
            if len(numbers) < EVENTS:
                assert damaged.name in start.words(), "damage is reported with the file"
            goes_on(start.courier, written)
            start.courier.stop()

    @pytest.mark.parametrize("what", ["empty", "zeroes", "noise", "text", "half head", "folder"])
    def test_foreign_file_beside_the_segments_is_left_alone_or_named(self, attempt, folder, written, what):
        """It bears a segment's name, so the server must look into it; what it cannot read it neither serves nor removes."""
        segment = file_that_holds(folder, mark(0))
        stem = "".join("9" if letter.isdigit() else letter for letter in segment.stem)
        foreign = segment.with_name(stem + segment.suffix)
        content = {"empty": b"", "zeroes": b"\0" * 70_000, "noise": random.Random(2).randbytes(70_000),
                   "text": b"dear diary\n" * 50, "half head": segment.read_bytes()[:7]}.get(what)  # fmt: skip
        if content is None:
            foreign.mkdir()
        else:
            foreign.write_bytes(content)
        (folder / "notes.txt").write_text("not yours")
        start = attempt()
        assert (folder / "notes.txt").read_text() == "not yours"
        if start.courier is None:
            assert foreign.name in start.refusal
            return
        assert held(start.courier, written) == list(range(EVENTS))
        goes_on(start.courier, written)
        if what in ("noise", "text", "folder"):
            assert foreign.exists(), "what is not ours is not removed"

    def test_segment_that_is_gone_is_a_gap_and_no_panic(self, attempt, start_courier, folder):
        settings = durable(folder, storage__segment_bytes=MEGABYTE)
        courier = start_courier(settings)
        with RawConnection(courier.port) as connection:
            for n in range(600):
                connection.send(encode_publish("a", b'{"n":%d,"mark":"%s","fill":"%s"}' % (n, mark(n), b"x" * 8000)))
                connection.reply()
        courier.stop()
        middle = file_that_holds(folder, mark(300))
        lost = {n for n in range(600) if mark(n) in middle.read_bytes()}
        assert 0 < len(lost) < 500, "several segments"
        middle.unlink()
        start = attempt()
        if start.courier is None:
            assert str(folder) in start.refusal
            return
        numbers = [event["event"]["n"] for event in pages(start.courier, "a", 1000)]
        assert numbers == sorted(set(numbers)) and not lost & set(numbers)
        assert set(range(max(lost) + 1, 600)) <= set(numbers), "what comes after the gap is there"

    def test_log_of_a_newer_version_is_refused_and_left_as_it_is(self, attempt, folder, written, tmp_path):
        """Also any other byte there that is not as it was written leads to no wrong event and no lost file."""
        segment = file_that_holds(folder, mark(0))
        newer = shutil.copytree(folder, tmp_path / "newer") / segment.relative_to(folder)
        data = newer_version(segment.read_bytes())
        newer.write_bytes(data)
        start = attempt(tmp_path / "newer")
        assert start.courier is None and segment.name in start.refusal and "newer" in start.refusal.lower()
        assert newer.read_bytes() == data
        for place in range(16):
            copy = shutil.copytree(folder, tmp_path / f"copy{place}")
            other = copy / segment.relative_to(folder)
            data = bytearray(segment.read_bytes())
            data[place] = data[place] + 1 & 0xFF
            other.write_bytes(data)
            start = attempt(copy)
            if start.courier is None:
                assert segment.name in start.refusal and other.read_bytes() == bytes(data), start.refusal
                continue
            assert len(held(start.courier, written)) == EVENTS or segment.name in start.words(), (place, start.words())
            start.courier.stop()


class TestFolder:
    def refusal(self, folder, **options) -> str:
        ended = run_to_end("serve", settings={"port": 0} | durable(folder), **options)
        assert ended.returncode != 0 and not PANIC.search(ended.stderr), ended.stderr
        assert "listens on" not in ended.stdout and 0 < len(ended.stderr.strip().splitlines()) <= 6, ended.stderr
        return ended.stderr

    def test_second_server_on_the_same_folder_is_refused(self, start_courier, folder):
        courier = start_courier(durable(folder))
        courier.publish("a", {"n": 0})
        assert str(folder) in self.refusal(folder)
        assert courier.publish("a", {"n": 1})["stored"] == "disk"
        assert numbers_of(page(courier, "a")) == [0, 1]

    def test_folder_of_one_that_was_killed_is_free(self, start_courier, folder):
        for _ in range(3):
            courier = start_courier(durable(folder))
            courier.publish("a", {"n": 0})
            kill(courier)

    def test_folder_that_is_a_file_is_refused(self, folder):
        folder.write_text("a file")
        assert str(folder) in self.refusal(folder)

    def test_missing_parents_are_made_or_named(self, attempt, folder):
        deep = folder / "not" / "there" / "yet"
        start = attempt(deep)
        assert str(deep) in start.refusal if start.courier is None else start.courier.publish("a", {"n": 1})["stored"] == "disk"

    @pytest.mark.parametrize("empty", [True, False])
    def test_read_only_folder_is_refused_in_words(self, start_courier, folder, empty):
        if not empty:
            courier = start_courier(durable(folder))
            courier.publish("a", {"n": 0})
            courier.stop()
        folder.mkdir(exist_ok=True)
        copy = sandbox.readable_copy(BINARY)
        for path in [folder, *folder.parents][:4]:
            path.chmod(path.stat().st_mode | 0o555)
        try:
            said = self.refusal(folder, binary=copy, prefix=sandbox.without_rights())
        finally:
            shutil.rmtree(copy.parent)
        assert str(folder) in said and os.strerror(errno.EACCES).lower() in said.lower(), said

    def test_nobody_touches_a_folder_when_nothing_is_durable(self, start_courier, folder):
        courier = start_courier({"storage.dir": folder})
        courier.publish("a", {"n": 1})
        courier.stop()
        assert not folder.exists()


class TestLogCommand:
    def test_whole_log_is_checked_listed_and_dumped(self, folder, written):
        checked = log_command("check", folder)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        listed = log_command("list", folder)
        assert listed.returncode == 0
        assert any("a" in line.split() and str(EVENTS) in line for line in listed.stdout.splitlines()), listed.stdout
        dumped = log_command("dump", folder)
        assert dumped.returncode == 0
        lines = [line for line in dumped.stdout.splitlines() if "mark-" in line]
        assert len(lines) == EVENTS
        for n, line in enumerate(lines):
            assert written[n] in line and '{"n": %d, "mark": "%s"}' % (n, mark(n).decode()) in line

    def test_damage_is_named_and_the_exit_code_says_so(self, folder, written):
        segment = file_that_holds(folder, mark(30))
        data = bytearray(segment.read_bytes())
        data[data.index(mark(30)) + 2] ^= 4
        segment.write_bytes(data)
        checked = log_command("check", folder)
        said = checked.stdout + checked.stderr
        assert checked.returncode != 0 and segment.name in said and not PANIC.search(said)
        assert segment.read_bytes() == bytes(data), "looking changes nothing"
        dumped = log_command("dump", folder)
        assert mark(29).decode() in dumped.stdout and mark(30).decode() not in dumped.stdout
        assert not PANIC.search(dumped.stderr)

    def test_looks_while_a_server_writes(self, start_courier, folder):
        courier = start_courier(durable(folder))
        publish_many(courier, "a", 5)
        before = {path: path.read_bytes() for path in files(folder)}
        assert log_command("list", folder).returncode == 0
        assert {path: path.read_bytes() for path in files(folder)} == before
        assert courier.publish("a", {"n": 5})["stored"] == "disk"

    @pytest.mark.parametrize("action", ["check", "list", "dump"])
    def test_no_folder_is_told(self, tmp_path, action):
        ended = log_command(action, tmp_path / "nowhere")
        assert ended.returncode != 0 and str(tmp_path / "nowhere") in ended.stderr and not PANIC.search(ended.stderr)

    def test_unknown_action_is_told(self, folder):
        ended = log_command("polish", folder)
        assert ended.returncode == 2 and not PANIC.search(ended.stderr)
