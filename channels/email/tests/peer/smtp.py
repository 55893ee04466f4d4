"""An SMTP server that wants a login and hands mail to LMTP: smtp.py PORT LMTP_PORT USER PASSWORD."""

import asyncio
import smtplib
import sys

from aiosmtpd.smtp import SMTP, AuthResult

port, lmtp_port, user, password = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]


class Deliver:
    async def handle_DATA(self, server, session, envelope):
        lmtp = smtplib.LMTP("127.0.0.1", lmtp_port)
        lmtp.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)
        lmtp.quit()
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=good)


def make():
    return SMTP(Deliver(), authenticator=login, auth_required=True, auth_require_tls=False,
                data_size_limit=100 << 20, enable_SMTPUTF8=True)


async def main():
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
