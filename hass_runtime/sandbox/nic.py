"""A host's network interface: what the rest of the cluster can reach of it.

A TCP listener whose handshake says "the network stack is there" (ICMP to loopback cannot say it: the kernel
answers for every address), and the agent's polling port, from which datagrams are passed on to the agent
inside. Taken down, neither answers while everything inside the host runs on untouched: that is a network cut.
The polling port stays bound then, so that datagrams vanish: a closed port would be an answer of the kernel,
and a dead host gives none.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import OrderedDict

MAX_DATAGRAM = 65535
# Whoever polls the agent from a new port each time leaves a socket behind; the oldest goes first.
MAX_PEERS = 64
BACKLOG = 64


class Nic:
    """One host's interface. `up` and `down` may be called from any thread, again and again."""

    def __init__(self, address: str, presence_port: int, agent_port: int, inner_port: int) -> None:
        self.address = address
        self._presence_port = presence_port
        self._agent_port = agent_port
        self._inner_port = inner_port
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop: socket.socket | None = None
        self._udp: socket.socket | None = None

    @property
    def is_up(self) -> bool:
        return self._thread is not None

    def up(self) -> None:
        """Listen; OSError when an address or port is taken."""
        with self._lock:
            if self._thread is not None:
                return
            udp = self._polling_port()
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tcp.bind((self.address, self._presence_port))
                tcp.listen(BACKLOG)
            except OSError:
                tcp.close()
                raise
            tcp.setblocking(False)
            self._stop, stopped = socket.socketpair()
            self._thread = threading.Thread(
                target=self._run, args=(tcp, udp, stopped), name=f"nic-{self.address}", daemon=True
            )
            self._thread.start()

    def _polling_port(self) -> socket.socket:
        """The agent's port, bound once and for all, without what came in while the interface was down."""
        if self._udp is None:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind((self.address, self._agent_port))
            except OSError:
                udp.close()
                raise
            udp.setblocking(False)
            self._udp = udp
        with contextlib.suppress(BlockingIOError):
            while True:
                self._udp.recv(MAX_DATAGRAM)
        return self._udp

    def down(self) -> None:
        """Stop answering; returns when nothing answers any more."""
        with self._lock:
            if self._thread is None or self._stop is None:
                return
            self._stop.close()
            self._thread.join()
            self._thread = self._stop = None

    def _run(self, tcp: socket.socket, udp: socket.socket, stopped: socket.socket) -> None:
        peers: OrderedDict[tuple[str, int], socket.socket] = OrderedDict()
        with tcp, stopped:
            while True:
                inner = {sock: peer for peer, sock in peers.items()}
                ready, _, _ = select.select([stopped, tcp, udp, *inner], [], [])
                if stopped in ready:
                    break
                for sock in ready:
                    # Nobody listening inside, or a caller gone before we looked: silence is the answer.
                    with contextlib.suppress(OSError):
                        if sock is tcp:
                            tcp.accept()[0].close()
                        elif sock is udp:
                            self._pass_in(udp, peers)
                        else:
                            udp.sendto(sock.recv(MAX_DATAGRAM), inner[sock])
            for sock in peers.values():
                sock.close()

    def _pass_in(self, udp: socket.socket, peers: OrderedDict[tuple[str, int], socket.socket]) -> None:
        data, peer = udp.recvfrom(MAX_DATAGRAM)
        if peer not in peers:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect((self.address, self._inner_port))
            peers[peer] = sock
            if len(peers) > MAX_PEERS:
                peers.popitem(last=False)[1].close()
        peers[peer].send(data)
