"""The process of the embedded DynamoDB: `python -m report_pipeline.local.server STATE_FILE LISTENER_FD`.

It serves ministack on a listening socket that its starter bound, so that no other process can take
the port in between. `embedded` starts it, with an open lock file among its descriptors: the lock is
held for exactly as long as this process lives.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import uuid
from pathlib import Path


def main() -> None:
    """Serve until SIGTERM, then save the tables and end."""
    state_file, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    # A process that a shell started with `&` ignores SIGINT, and its children inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        host, port = listener.getsockname()
    written = state_file.with_suffix(".tmp")
    state = {"pid": os.getpid(), "port": port, "endpoint": f"http://{host}:{port}", "life": uuid.uuid4().hex}
    written.write_text(json.dumps(state))
    written.replace(state_file)

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.loglevel = "WARNING"
    config.keep_alive_timeout = 75
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
