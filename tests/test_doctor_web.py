"""`reflock doctor` at the pages: what people's browsers and Bluesky's servers would find under the public address."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.sandbox.faults import Fault
from tests.surgery import Surgery, open_surgery
from tests.test_networks_guard import certificate
from tests.test_networks_oauth import signing_key


@pytest.fixture
async def surgery(tmp_path: Path) -> AsyncIterator[Surgery]:
    async with open_surgery(tmp_path, f"sqlite:///{tmp_path / 'reflock.sqlite3'}") as opened:
        yield opened


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bring bytes from one side to the other until it ends."""
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def reverse_proxy(surgery: Surgery, name: str = "localhost") -> AsyncIterator[None]:
    """Put TLS before the pages, under an address of its own, as a reverse proxy does."""
    chain, secret = certificate(surgery.folder, name)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain, secret)
    surgery.ssl_context = ssl.create_default_context(cafile=str(chain))
    open_now: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", surgery.pages.port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()
            return
        for each in (carry(reader, inner_writer), carry(inner_reader, writer)):
            task = asyncio.create_task(each)
            open_now.add(task)
            task.add_done_callback(open_now.discard)

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=serving) as listening:
        port = listening.sockets[0].getsockname()[1]
        surgery.sections["web"]["public_url"] = f"https://localhost:{port}"
        surgery.sections["guard"] = {"allow_private": [f"localhost:{port}"]}
        surgery.secrets["REFLOCK_CLIENT_KEY"] = signing_key()
        yield
        for task in open_now:
            task.cancel()


async def test_a_confidential_client_is_found_as_it_describes_itself(surgery: Surgery) -> None:
    async with reverse_proxy(surgery), surgery.running_bot():
        visit = await surgery.asks()

    assert visit.exit_code == 0, visit.text
    assert visit.not_checked == []
    assert "servers know it as " in visit.about("Client key")
    assert "/oauth-client-metadata.json describes this client" in visit.about("OAuth metadata")


async def test_a_bot_that_was_started_with_another_key_has_a_line(surgery: Surgery) -> None:
    async with reverse_proxy(surgery), surgery.running_bot():
        surgery.secrets["REFLOCK_CLIENT_KEY"] = signing_key()
        visit = await surgery.asks()

    assert visit.wrong == ["OAuth metadata"]
    assert "another client than this configuration: jwks." in visit.about("OAuth metadata")
    assert "Start the bot anew" in visit.about("OAuth metadata")


async def test_a_certificate_for_another_name_has_a_line(surgery: Surgery) -> None:
    async with reverse_proxy(surgery, "elsewhere.example"), surgery.running_bot():
        visit = await surgery.asks()

    assert visit.wrong == ["Pages from outside"]
    assert "has the certificate not expired" in visit.about("Pages from outside")
    assert visit.not_checked == ["OAuth metadata"]


async def test_before_the_bot_runs_nobody_can_tell(surgery: Surgery) -> None:
    await surgery.prepare()
    async with reverse_proxy(surgery):
        visit = await surgery.asks()

    assert visit.exit_code == 0, visit.text
    assert visit.not_checked == ["Pages from outside", "OAuth metadata"]
    assert "the bot is not running here" in visit.about("Pages from outside")
    assert "then check again" in visit.about("Pages from outside")


async def test_an_address_that_leads_elsewhere_has_a_line(surgery: Surgery) -> None:
    async with surgery.running_bot():
        surgery.sections["web"]["public_url"] = surgery.town.url
        visit = await surgery.asks()

    assert visit.wrong == ["Pages from outside"]
    assert f"the bot answers at {surgery.pages.url}, but not at {surgery.town.url}" in visit.about("Pages from outside")


async def test_a_document_that_is_sent_on_has_a_line(surgery: Surgery) -> None:
    surgery.page_faults.plan(Fault("/oauth-client-metadata.json", status=301, headers={"location": "/elsewhere"}))
    async with reverse_proxy(surgery), surgery.running_bot():
        visit = await surgery.asks()

    assert visit.wrong == ["OAuth metadata"]
    assert "answers 301" in visit.about("OAuth metadata")


async def test_a_bot_that_has_lost_its_database_says_so(surgery: Surgery) -> None:
    surgery.page_faults.plan(Fault("/healthz", status=503, body=b'{"status": "the database does not answer"}'))
    async with surgery.running_bot():
        visit = await surgery.asks()

    assert visit.wrong == ["Pages from outside"]
    assert "says that the database does not answer" in visit.about("Pages from outside")


async def test_an_address_without_tls_has_a_line(surgery: Surgery) -> None:
    surgery.sections["web"]["public_url"] = "http://reflock.example.org"
    visit = await surgery.asks()

    assert visit.wrong == ["Web address"]
    assert "Put a reverse proxy with TLS before it" in visit.about("Web address")


@pytest.mark.parametrize("key", ["", "no key at all"])
async def test_an_https_address_without_a_key_has_a_line(surgery: Surgery, key: str) -> None:
    surgery.sections["web"]["public_url"] = "https://reflock.invalid"
    surgery.secrets["REFLOCK_CLIENT_KEY"] = key
    visit = await surgery.asks()

    assert visit.wrong == ["Client key"]
    assert "reflock init --directory new" in visit.about("Client key")


async def test_without_a_web_address_nothing_of_it_is_needed(surgery: Surgery) -> None:
    surgery.sections["web"]["public_url"] = ""
    visit = await surgery.asks()

    assert visit.exit_code == 0
    assert "only Mastodon-API servers can be connected" in visit.about("Web address")
    assert not {"Client key", "Pages from outside", "OAuth metadata"} & set(visit.not_checked)
