"""A mail server on loopback that speaks SMTP and keeps what it is given. `mode`: `ok`; `refuse` says no to each recipient; `broken` hangs up when a message comes;
`mute` takes the message, keeps it, and hangs up before it says so."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


class MailServer:
    """`got`: every message in order, read as mailboxes read it. `asked`: conversations that were begun."""

    def __init__(self) -> None:
        self.mode, self.asked = "ok", 0
        self.got: list[EmailMessage] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def _handler(self) -> type[Conversation]:
        return type("Handler", (Conversation,), {"mail": self})

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


class Conversation(socketserver.StreamRequestHandler):
    """One client's."""

    mail: MailServer

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.mail.asked += 1
        self.say("220 mail.test ESMTP")
        goes_on = True
        while goes_on and (line := self.rfile.readline()):
            goes_on = self.answer(line.decode().strip().upper())

    def answer(self, word: str) -> bool:
        """Whether the conversation goes on."""
        if word == "DATA":
            return self.take()
        refused = word.startswith("RCPT") and self.mail.mode == "refuse"
        self.say("221 bye" if word == "QUIT" else "550 no such mailbox" if refused else "250 ok")
        return word != "QUIT"

    def take(self) -> bool:
        if self.mail.mode == "broken":
            return False
        self.say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        self.mail.got.append(message_from_bytes(b"".join(lines), policy=policy.default))  # type: ignore[arg-type]
        if self.mail.mode == "mute":
            return False
        self.say("250 taken")
        return True


def point_to(settings: Any, server: MailServer) -> None:
    """This process sends its mail there."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", server.port, 5
