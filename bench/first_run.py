"""A first look at speed: wrk against a running instance, append one and read the last 20.

    ./turnlog up                                       (in another terminal)
    .venv/bin/python -m bench.first_run FILE.jsonl     (needs wrk on the PATH)

Messages are real ones, from the JSONL file. It is a look, not a proof: `turnlog bench` will measure
ratios against baselines in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from tools.instance import load_instance, running_instance
from tools.paths import DEFAULT_DATA_DIR
from tools.token import mint_token

HERE: Final = Path(__file__).parent
CONVERSATIONS: Final = 64
MESSAGES: Final = 2000
DESIGN: Final = {"append": "11.3 thousand/s (Falcon, one worker)", "read": "15.8 thousand/s (Falcon)"}


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="conversations, one a line")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not on the PATH (Debian and Ubuntu: apt install wrk)")
    instance = running_instance(options.data_dir)
    if instance is None:
        sys.exit(f"no running instance at {options.data_dir}; start one with ./turnlog up")
    token = mint_token(load_instance(options.data_dir).identity, "bench@example.com")
    with tempfile.TemporaryDirectory() as directory:
        messages = Path(directory) / "messages"
        messages.write_text("\n".join(itertools.islice(_messages(options.file), MESSAGES)))
        conversations = Path(directory) / "conversations"
        conversations.write_text("\n".join(_conversations(instance.url, token, messages)))
        for name in ("append", "read"):
            command = [
                *("wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s"),
                *("-s", str(HERE / "requests.lua"), instance.url, "--"),
                *(name, str(conversations), str(messages), token),
            ]
            _print(name, subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _messages(file: Path) -> Any:
    with file.open() as lines:
        for line in lines:
            for message in json.loads(line)["messages"]:
                yield json.dumps(message)


def _conversations(url: str, token: str, messages: Path) -> list[str]:
    """Conversations with 25 messages each, so that a read of 20 is a full one."""
    batch = {"messages": [json.loads(line) for line in messages.read_text().splitlines()[:25]]}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        replies = [client.post("/api/conversations/messages", json=batch) for _ in range(CONVERSATIONS)]
    return [reply.raise_for_status().json()["conversation_id"] for reply in replies]


def _print(name: str, output: str) -> None:
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    requests, microseconds, errors, p50, p99 = line.split()[1:]
    rate = int(requests) / int(microseconds) * 1_000_000
    sys.stdout.write(
        f"{name:7} {rate:9.0f} requests/s  p50 {p50} ms  p99 {p99} ms  errors {errors}"
        f"   design.md section 5: {DESIGN[name]}\n"
    )


if __name__ == "__main__":
    main()
