"""An ICE agent of aioice: says who it is, is told who the other is, connects, sends one datagram
and returns one. Its argument is its role."""

import asyncio
import sys

import aioice


async def main():
    connection = aioice.Connection(ice_controlling=sys.argv[1] == "controlling")
    await connection.gather_candidates()
    print(connection.local_username, connection.local_password)
    for candidate in connection.local_candidates:
        print(candidate.to_sdp())
    print("end", flush=True)
    connection.remote_username, connection.remote_password = sys.stdin.readline().split()
    candidate = aioice.Candidate.from_sdp(sys.stdin.readline().strip())
    await connection.add_remote_candidate(candidate)
    await connection.add_remote_candidate(None)
    await connection.connect()
    print("connected", flush=True)
    await connection.send(b"\x80ping")
    print(await connection.recv(), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await connection.close()


asyncio.run(main())
