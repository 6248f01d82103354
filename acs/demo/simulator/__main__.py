"""`python -m acs.demo.simulator --config FILE [--api-key-file FILE]`: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from acs.demo.simulator import config, keys
from acs.demo.simulator.server import Simulator


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m acs.demo.simulator", description=__doc__)
    words.add_argument("--config", type=Path, required=True, help="headscale's configuration file")
    words.add_argument("--api-key-file", type=Path, help="write a new admin key into this file, unless it exists")
    given = words.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s simulator %(levelname)s %(message)s", stream=sys.stderr)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    simulator = Simulator(config.read(given.config))
    if given.api_key_file and not given.api_key_file.exists():
        given.api_key_file.touch(mode=0o600)
        given.api_key_file.write_text(keys.make_admin_key(simulator.store))
    simulator.start()
    logging.info("serving on %s:%s", *simulator.config.listen)
    stopped.wait()
    simulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
