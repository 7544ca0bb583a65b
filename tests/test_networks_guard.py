"""The guard at the door: who may be asked, and how much of an answer is read."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.networks.guard import (
    BadServerName,
    Forbidden,
    GuardedClient,
    TooLarge,
    Unreachable,
    is_public,
    normalise_server,
)
from bot.sandbox.faults import Fault, FaultMiddleware, Faults
from bot.sandbox.server import LoopbackServer
from tests.dropping import dropping_server


async def echo(request: Request) -> Response:
    body = (await request.body()).decode()
    return JSONResponse({"headers": dict(request.headers), "method": request.method, "body": body})


async def onward(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"], 302)


async def hops(request: Request) -> Response:
    left = int(request.path_params["left"])
    return RedirectResponse(f"/hops/{left - 1}") if left else PlainTextResponse("arrived")


async def endless(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        while not await request.is_disconnected():
            yield b"x" * 65536

    return StreamingResponse(chunks())


async def packed(request: Request) -> Response:
    return Response(b"\x1f\x8b", headers={"content-encoding": "gzip"})


async def cookie(request: Request) -> Response:
    response = JSONResponse(dict(request.cookies))
    response.set_cookie("track", "me")
    return response


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def server(faults: Faults) -> AsyncIterator[LoopbackServer]:
    app = Starlette(
        routes=[
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/to", onward, methods=["GET", "POST"]),
            Route("/hops/{left:int}", hops),
            Route("/endless", endless),
            Route("/packed", packed),
            Route("/cookie", cookie),
        ]
    )
    async with LoopbackServer(FaultMiddleware(app, faults)) as running:
        yield running


@pytest.fixture
async def guard(server: LoopbackServer) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=frozenset({f"127.0.0.1:{server.port}"})) as client:
        yield client


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "192.88.99.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "not an address"),
    ],
)
def test_no_address_inside_our_walls_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "193.0.6.139", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"]
)
def test_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


async def test_a_name_that_leads_inside_is_refused_even_if_only_once_in_a_while() -> None:
    answers = iter([["10.0.0.5"], ["93.184.215.14", "::ffff:192.168.0.1"]])

    async def resolver(host: str, port: int) -> list[str]:
        return next(answers)

    async with GuardedClient(resolver=resolver) as guard:
        for _ in range(2):
            with pytest.raises(Forbidden, match=r"evil\.example leads to an address inside a private network"):
                await guard.request("GET", "https://evil.example/")


async def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_that_is_used(server: LoopbackServer) -> None:
    asked = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    name = f"friends.example:{server.port}"
    async with GuardedClient(allow_private=frozenset({name}), resolver=resolver) as guard:
        seen = (await guard.request("GET", f"http://{name}/echo")).json()["headers"]["host"]

    assert seen == name
    assert asked == [("friends.example", server.port)]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://mastodon.social/", "only asked over https"),
        ("https://mastodon.social:8443/", "only asked on port 443, not on 8443"),
        ("https://me:secret@mastodon.social/", "carries a user name or a password"),
        ("ftp://mastodon.social/", "begin with https"),
        ("file:///etc/passwd", "begin with https"),
        ("https://", "begin with https"),
        ("https://[::1/", "not a web address that can be read"),
        ("https://127.0.0.1/", "private network"),
        ("https://2130706433/", "private network"),
        ("https://[::ffff:127.0.0.1]/", "private network"),
    ],
)
async def test_every_odd_address_gets_a_clear_sentence(url: str, sentence: str) -> None:
    async with GuardedClient() as guard:
        with pytest.raises(Forbidden, match=sentence) as caught:
            await guard.request("GET", url)
    assert "secret" not in str(caught.value)


async def test_only_the_operators_own_exceptions_are_private(guard: GuardedClient, server: LoopbackServer) -> None:
    assert (await guard.request("GET", f"{server.url}/echo")).status == 200
    with pytest.raises(Forbidden):
        await guard.request("GET", f"http://localhost:{server.port}/echo")
    assert guard.base_url(f"127.0.0.1:{server.port}") == server.url
    assert guard.base_url("mastodon.social") == "https://mastodon.social"


async def test_forms_and_json_arrive(guard: GuardedClient, server: LoopbackServer) -> None:
    form = (await guard.request("POST", f"{server.url}/echo", data={"a": "é b"})).json()
    body = (await guard.request("POST", f"{server.url}/echo", json={})).json()

    assert form["body"] == "a=%C3%A9+b"
    assert body["body"] == "{}"
    assert form["headers"]["accept-encoding"] == "identity"


async def test_three_redirects_are_followed_and_no_fourth(guard: GuardedClient, server: LoopbackServer) -> None:
    answer = await guard.request("GET", f"{server.url}/hops/3")

    assert (answer.content, answer.url) == (b"arrived", f"{server.url}/hops/0")
    with pytest.raises(Unreachable, match="more than 3 times"):
        await guard.request("GET", f"{server.url}/hops/4")


async def test_a_redirect_is_checked_like_the_first_address(guard: GuardedClient, server: LoopbackServer) -> None:
    for inside in ("http://169.254.169.254/latest/meta-data", "https://127.0.0.1/", "https://localhost/"):
        with pytest.raises(Forbidden):
            await guard.request("GET", f"{server.url}/to", params={"to": inside})


async def test_what_is_sent_is_not_sent_on(guard: GuardedClient, server: LoopbackServer) -> None:
    assert (await guard.request("POST", f"{server.url}/to?to=/echo", data={"token": "x"})).status == 302
    assert (await guard.request("GET", f"{server.url}/to?to=/echo", redirects=False)).status == 302


async def test_a_token_stays_with_the_server_it_is_for(guard: GuardedClient, server: LoopbackServer) -> None:
    token = {"authorization": "Bearer x"}
    kept = await guard.request("GET", f"{server.url}/to?to=/echo", headers=token)
    async with LoopbackServer(Starlette(routes=[Route("/echo", echo)])) as other:
        both = frozenset({f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}"})
        async with GuardedClient(allow_private=both) as wide:
            dropped = await wide.request("GET", f"{server.url}/to", params={"to": f"{other.url}/echo"}, headers=token)

    assert kept.json()["headers"]["authorization"] == "Bearer x"
    assert "authorization" not in dropped.json()["headers"]


async def test_an_endless_answer_is_read_up_to_the_limit(guard: GuardedClient, server: LoopbackServer) -> None:
    with pytest.raises(TooLarge, match="longer than 1024 KiB"):
        await guard.request("GET", f"{server.url}/endless")


async def test_an_answer_that_announces_too_much_is_not_read(
    guard: GuardedClient, server: LoopbackServer, faults: Faults
) -> None:
    faults.plan(Fault("/echo", status=200, body=b"x" * (1024 * 1024 + 1)))
    with pytest.raises(TooLarge):
        await guard.request("GET", f"{server.url}/echo")


async def test_a_packed_answer_is_not_unpacked(guard: GuardedClient, server: LoopbackServer) -> None:
    with pytest.raises(Unreachable, match="packed form"):
        await guard.request("GET", f"{server.url}/packed")


async def test_no_cookie_is_kept(guard: GuardedClient, server: LoopbackServer) -> None:
    await guard.request("GET", f"{server.url}/cookie")
    assert (await guard.request("GET", f"{server.url}/cookie")).json() == {}


async def test_no_proxy_of_the_environment_is_used(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with GuardedClient(allow_private=frozenset({f"127.0.0.1:{server.port}"})) as guard:
        assert (await guard.request("GET", f"{server.url}/echo")).ok


async def test_a_silent_a_broken_and_an_absent_server_are_unreachable(server: LoopbackServer, faults: Faults) -> None:
    allowed = frozenset({f"127.0.0.1:{server.port}", "127.0.0.1:9"})
    async with GuardedClient(allow_private=allowed, seconds=0.2) as guard:
        faults.plan(Fault("/echo", "timeout"))
        with pytest.raises(Unreachable, match="did not answer"):
            await guard.request("GET", f"{server.url}/echo")
        faults.plan(Fault("/echo", "cut"))
        with pytest.raises(Unreachable, match="broke off"):
            await guard.request("GET", f"{server.url}/echo")
        with pytest.raises(Unreachable, match="does the server exist"):
            await guard.request("GET", "http://127.0.0.1:9/")
        faults.plan(Fault("/echo", "malformed"))
        with pytest.raises(Unreachable, match="not JSON"):
            (await guard.request("GET", f"{server.url}/echo")).json()


async def test_a_kept_connection_that_was_dropped_without_a_word_is_no_failure() -> None:
    async with dropping_server() as name, GuardedClient(allow_private=frozenset({name})) as guard:
        for _ in range(3):
            assert (await guard.request("GET", f"http://{name}/")).content == b"[]"
        with pytest.raises(Unreachable):
            await guard.request("POST", f"http://{name}/")
        assert (await guard.request("GET", f"http://{name}/")).content == b"[]"
        with pytest.raises(Unreachable):  # its proof may have been seen, and is good once
            await guard.request("GET", f"http://{name}/", headers={"dpop": "a proof"})


async def test_a_server_may_say_when_to_come_back(guard: GuardedClient, server: LoopbackServer, faults: Faults) -> None:
    faults.plan(Fault("/echo", status=429, headers={"retry-after": "30"}))
    faults.plan(Fault("/echo", status=429, headers={"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}))

    assert [(await guard.request("GET", f"{server.url}/echo")).retry_in() for _ in range(3)] == [30.0, None, None]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for one name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


async def test_tls_speaks_to_the_name_although_the_address_was_dialled(tmp_path: Path) -> None:
    chain, secret = certificate(tmp_path, "friends.example")
    asked_for = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain, secret)
    serving.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=str(chain))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as listening:
        port = listening.sockets[0].getsockname()[1]
        allowed = frozenset({f"friends.example:{port}", f"stranger.example:{port}"})
        async with GuardedClient(allow_private=allowed, resolver=resolver, ssl_context=trusting) as guard:
            good = await guard.request("GET", f"https://friends.example:{port}/")
            with pytest.raises(Unreachable):
                await guard.request("GET", f"https://stranger.example:{port}/")

    assert good.content == b"hi"
    assert asked_for == ["friends.example", "stranger.example"]


@pytest.mark.parametrize(
    ("typed", "host"),
    [
        ("mastodon.social", "mastodon.social"),
        ("  Mastodon.Social. ", "mastodon.social"),
        ("https://mastodon.social/@alice?x=1#y", "mastodon.social"),
        ("@Alice@mastodon.social", "mastodon.social"),
        ("alice@mastodon.social", "mastodon.social"),
        ("HTTP://mastodon.social:443/", "mastodon.social"),
        ("<https://mastodon.social>", "mastodon.social"),
        ("bücher.social", "xn--bcher-kva.social"),
        ("BÜCHER。social", "xn--bcher-kva.social"),
    ],
)
def test_a_server_is_understood_however_it_is_written(typed: str, host: str) -> None:
    assert normalise_server(typed) == host


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Write just its name"),
        ("@@@", "no server's name in @@@"),
        ("mastodon", "has no ending"),
        ("127.0.0.1", "made of numbers"),
        ("https://[::1]:443/", "made of numbers"),
        ("127.1", "no name on the public internet"),
        ("mastodon.social:8443", "names port 8443"),
        ("my server.social", "no server's name can hold"),
        ("router.local", "no name on the public internet"),
        ("under_score.social", "no server's name can hold"),
        ("a" * 64 + ".social", "no server's name can hold"),
    ],
)
def test_what_is_no_server_gets_a_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(BadServerName, match=sentence):
        normalise_server(typed)


def test_the_operators_own_server_may_have_a_port() -> None:
    allowed = frozenset({"127.0.0.1:8080"})
    assert normalise_server("http://127.0.0.1:8080/@alice", allowed) == "127.0.0.1:8080"
    with pytest.raises(BadServerName):
        normalise_server("127.0.0.1:8081", allowed)


@given(st.text())
def test_whatever_is_typed_ends_as_a_host_or_a_sentence(typed: str) -> None:
    with contextlib.suppress(BadServerName):
        host = normalise_server(typed)
        assert urlsplit(f"https://{host}/").hostname == host
        assert normalise_server(host) == host
