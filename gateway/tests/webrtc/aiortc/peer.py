"""A WebRTC peer by aiortc, which does what it is told in lines of JSON.

A line on stdin is {"number", "verb", "call", "argument"}; the line that answers it is
`reply NUMBER {"ok": ...}` or `reply NUMBER {"error": ...}`. The verbs are those of page.html.
"""

import array
import asyncio
import fractions
import json
import math
import sys

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

RATE = 8000
SAMPLES = 160
WAVE = b"".join(
    int(8000 * math.sin(2 * math.pi * 400 * at / RATE)).to_bytes(2, "little", signed=True)
    for at in range(SAMPLES)
)


class Tone(MediaStreamTrack):
    """20 ms of a tone at a time, or of silence."""

    kind = "audio"
    muted = False

    def __init__(self):
        super().__init__()
        self.begun = None
        self.count = 0

    async def recv(self):
        now = asyncio.get_running_loop().time()
        self.begun = self.begun or now
        await asyncio.sleep(self.begun + self.count * SAMPLES / RATE - now)
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(bytes(2 * SAMPLES) if self.muted else WAVE)
        frame.sample_rate, frame.time_base = RATE, fractions.Fraction(1, RATE)
        frame.pts = self.count * SAMPLES
        self.count += 1
        return frame


class Grey(MediaStreamTrack):
    """Ten small grey pictures a second."""

    kind = "video"

    def __init__(self):
        super().__init__()
        self.count = 0

    async def recv(self):
        await asyncio.sleep(0.1)
        frame = av.VideoFrame(width=160, height=120, format="yuv420p")
        for plane in frame.planes:
            plane.update(bytes([self.count * 7 % 256]) * plane.buffer_size)
        frame.time_base, frame.pts = fractions.Fraction(1, 90000), self.count * 9000
        self.count += 1
        return frame


class Call:
    def __init__(self):
        # It would ask a STUN server on the Internet and wait for that.
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.energy = 0.0
        self.tasks = set()
        self.contends = False
        self.pc.on("track", self.listen)

    async def contend(self):
        """From now on it takes the other ICE role than SDP gives it (RFC 8445 section 7.3.1.1)."""
        self.contends = True

    def take_the_other_role(self):
        if not self.contends:
            return
        connections = {
            transceiver.sender.transport.transport._connection
            for transceiver in self.pc.getTransceivers()
        }
        for connection in connections:
            connection.connect = connect_as_the_other(connection, connection.connect)

    def listen(self, track):
        task = asyncio.ensure_future(self.take(track))
        self.tasks.add(task)

    async def take(self, track):
        while True:
            frame = await track.recv()
            if track.kind == "audio":
                samples = array.array("h", bytes(frame.planes[0]))
                self.energy += sum(map(abs, samples))

    async def offer(self, video):
        self.pc.addTrack(Tone())
        if video:
            self.pc.addTrack(Grey())
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def answer(self, sdp):
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        if not any(sender.track for sender in self.pc.getSenders()):
            self.pc.addTrack(Tone())
            if "m=video" in sdp:
                self.pc.addTrack(Grey())
        self.take_the_other_role()
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        return self.pc.localDescription.sdp

    async def accept(self, sdp):
        self.take_the_other_role()
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def state(self):
        return self.pc.connectionState

    async def mute(self, muted):
        for sender in self.pc.getSenders():
            if isinstance(sender.track, Tone):
                sender.track.muted = muted

    async def stop(self):
        for sender in self.pc.getSenders():
            sender.replaceTrack(None)

    async def counts(self):
        sections = []
        for transceiver in self.pc.getTransceivers():
            stats = {**await transceiver.sender.getStats(), **await transceiver.receiver.getStats()}
            # A source that was only reported on by RTCP is counted too.
            of = lambda kind, field: sum(
                getattr(stat, field) for stat in stats.values() if stat.type == kind
            )
            sections.append(
                {
                    "sent": of("outbound-rtp", "packetsSent"),
                    "received": of("inbound-rtp", "packetsReceived"),
                    "lost": of("inbound-rtp", "packetsLost"),
                    "energy": self.energy if transceiver.kind == "audio" else None,
                }
            )
        return sections

    async def close(self):
        await self.pc.close()
        for task in self.tasks:
            task.cancel()


def connect_as_the_other(connection, connect):
    async def as_the_other():
        connection.ice_controlling = not connection.ice_controlling
        await connect()

    return as_the_other


async def main():
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    calls = {}
    running = set()

    async def serve(request):
        call = calls.setdefault(request["call"], None) or Call()
        calls[request["call"]] = call
        try:
            answer = {"ok": await getattr(call, request["verb"])(**request["argument"])}
        except Exception as error:
            answer = {"error": repr(error)}
        print("reply", request["number"], json.dumps(answer), flush=True)

    while line := await reader.readline():
        running.add(asyncio.ensure_future(serve(json.loads(line))))


asyncio.run(main())
