"""The embedded server's process: llama.cpp on a free loopback port, which ends with its parent.

It reads a key from its standard input, prints its address, and ends when its standard input ends: the parent holds the
other end, and the kernel closes that however the parent ends.
"""

from __future__ import annotations

import os
import sys
import threading


def main(model: str, context: str, threads: str) -> None:
    """Serve the GGUF file until standard input ends. `context` is in tokens; `threads` 0 is all cores."""
    key = sys.stdin.readline().strip()
    watch = threading.Thread(target=_end_with_parent, daemon=True)
    watch.start()
    # Only the address goes to the parent: what the engine prints goes to the log.
    address = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    # Without a key, any page in a browser on this machine could call the model.
    params.api_keys = [key]
    params.n_parallel = 1
    # Earlier prompts must not matter: a continued prompt is computed in other batches than a whole one.
    params.cache_prompt = False
    params.n_ctx = int(context)
    params.cache_ram_mib = 0
    cores = int(threads) or os.cpu_count() or 1
    # Prompts are read on all cores. Writing a reply waits for memory, and its threads for each other at each step:
    # half of the cores are nearly as fast, and faster where another process needs a core.
    params.cpuparams_batch.n_threads, params.cpuparams.n_threads = cores, max(1, cores // 2)
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, file=address, flush=True)
    watch.join()


def _end_with_parent() -> None:
    """Exit when standard input ends."""
    # Python's buffered reader would hold its lock while a model that cannot be loaded ends the process.
    while os.read(0, 1):
        pass
    # The engine's own clean-up may wait for requests in flight, which nobody waits for any more.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
