"""The embedded server's own process: llama.cpp on a free loopback port, gone when its parent is gone.

It reads a key from its standard input, prints its address, and ends when its standard input does: the parent holds the
other end, and the kernel closes it whatever happens to the parent.
"""

from __future__ import annotations

import os
import sys


def main(model: str, context: str, threads: str) -> None:
    """Serve the GGUF file until standard input ends. `context` is in tokens; `threads` 0 is all cores."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    # Without a key, any page open in a browser of this machine could ask the model.
    params.api_keys = [sys.stdin.readline().strip()]
    params.n_parallel = 1
    params.n_ctx = int(context)
    params.cache_ram_mib = 0
    cores = int(threads) or os.cpu_count() or 1
    # Prompts are read on all cores. Writing waits for memory, and its threads for each other at every step: half of the
    # cores are as fast, and three times as fast where another process wants one. Spinning would cost ten times more.
    params.cpuparams_batch.n_threads, params.cpuparams.n_threads = cores, max(1, cores // 2)
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201 - how the parent learns where
    sys.stdin.read()
    # The engine's own clean-up may wait for requests in flight; there is nobody left to answer to.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
