"""Getting pages, against a real server on this machine: what is refused, and every limit."""

import datetime
import gzip
import ssl
import time
import tracemalloc
import zlib

import httpx
import pytest

from prstack.tools.live.addresses import not_public
from prstack.tools.live.errors import WebError
from prstack.tools.live.exchange import Deadline, Reply
from prstack.tools.live.fetch import MAX_REDIRECTS, Fetcher
from prstack.tools.live.guard import Guard, system_resolver
from prstack.tools.live.robots import KEPT_ERROR_SECONDS, KEPT_SECONDS, MAX_SITES, Robots
from tests.tools.live_site import LOCAL, Site, free_port


@pytest.fixture
def site():
    site = Site()
    site.page("/", "<title>Home</title><p>Hello.")
    yield site
    site.close()


def refused(call, *arguments) -> WebError:
    with pytest.raises(WebError) as e:
        call(*arguments)
    return e.value


# --- server-side request forgery ---------------------------------------------------------------------------------
NO_NAMES = {
    "http://2130706433/": "unusual form",
    "http://0x7f000001/": "unusual form",
    "http://0x7f.1/": "unusual form",
    "http://017700000001/": "unusual form",
    "http://0177.0.0.1/": "malformed",
    "http://127.0.0.01/": "malformed",
    "http://300.1.1.1/": "malformed",
    "http://127.1/": "unusual form",
    "http://127.0.1/": "unusual form",
    "http://0/": "unusual form",
    "http://1.2.3.4.5/": "unusual form",
    "http://127.0.0.1./": "not a plain name",
    "http://shop.example./": "not a plain name",
    "http://127%2e0%2e0%2e1/": "not a plain name",
    "http://a..b.example/": "not a plain name",
    "http://-a.example/": "not a plain name",
    f"http://{'a' * 64}.example/": "not a plain name",
    "http://１２７.0.0.1/": "malformed",
    "http://ⓛocalhost/": "malformed",
    "http://localhost/": "local network",
    "http://LOCALHOST/": "local network",
    "http://a.localhost/": "local network",
    "http://printer.local/": "local network",
    "http://metadata.google.internal/": "local network",
    "http://intranet/": "local network",
    "http://user@shop.example/": "user name",
    "http://user:password@shop.example/": "user name",
    "http://@shop.example/": "user name",
    "http://shop.example@127.0.0.1/": "user name",
    "http://shop.example\\@127.0.0.1/": "backslashes",
    "http://shop.example/a b": "spaces",
    "http://shop.example/\r\nHost: x": "spaces",
    "http://shop.example:22/": "port 22",
    "http://shop.example:0/": "port 0",
    "http://shop.example:6379/": "port 6379",
    "http://shop.example:99999/": "port 99999",
    "file:///etc/passwd": "only http and https",
    "ftp://shop.example/": "only http and https",
    "gopher://shop.example/": "only http and https",
    "javascript:alert(1)": "only http and https",
    "//shop.example/": "only http and https",
    "shop.example": "only http and https",
    "http:shop.example": "no host",
    "http:///etc": "no host",
    "http://[::1": "malformed",
    "": "only http and https",
    "http://shop.example/" + "x" * 3000: "longer than",
}
NO_ADDRESSES = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "169.254.169.254": "link-local",
    "100.64.0.1": "shared",
    "100.100.100.200": "shared",
    "100.127.255.255": "shared",
    "168.63.129.16": "cloud",
    "192.0.0.192": "reserved",
    "198.18.0.1": "benchmarks",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::1": "loopback",
    "::": "unspecified",
    "::ffff:127.0.0.1": "in IPv6",
    "::ffff:7f00:1": "in IPv6",
    "::ffff:169.254.169.254": "in IPv6",
    "::ffff:8.8.8.8": "in IPv6",
    "::127.0.0.1": "in IPv6",
    "::ffff:0:10.0.0.1": "in IPv6",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::a9fe:a9fe": "NAT64",
    "64:ff9b::10.0.0.1": "NAT64",
    "64:ff9b:1::808:808": "NAT64",
    "2002:7f00:1::": "6to4",
    "2002:a9fe:a9fe::1": "6to4",
    "2001:0:53aa:64c:0:0:80ff:fffe": "Teredo",
    "2001:db8::1": "documentation",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "interface",
    "2606:4700:4700::1111%1": "interface",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "100::1": "reserved",
    "4000::1": "reserved",
    "shop.example": "not an IP address",
    "": "not an IP address",
}


@pytest.mark.parametrize(("url", "says"), NO_NAMES.items())
def test_urls_that_are_never_resolved(url, says):
    asked = []
    e = refused(Fetcher(Guard(lambda host, deadline: asked.append(host) or ["93.184.215.14"])).fetch, url)
    assert e.code == "refused" and says in str(e) and asked == []


@pytest.mark.parametrize(("address", "says"), NO_ADDRESSES.items())
def test_addresses_that_are_not_public_are_refused_by_name_and_as_they_are(address, says):
    assert says in not_public(address)
    e = refused(Fetcher(Guard(lambda host, deadline: ["93.184.215.14", address])).fetch, "http://shop.example/")  # one bad one is enough
    assert e.code == "refused" and says in str(e)
    if address and address != "shop.example":
        literal = f"[{address}]" if ":" in address else address
        assert refused(Fetcher().fetch, f"http://{literal}/").code == "refused"


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808"])
def test_public_addresses_may_be_visited(address):
    assert not_public(address) == ""
    guard = Guard(lambda host, deadline: [address])
    assert guard.addresses(guard.target("https://shop.example/"), Deadline(5)) == [address]


@pytest.mark.parametrize("url", ["http://shop.example/", "https://bücher.example/ü?q=1#top", "http://shop.example:8080/", "https://a-b.c_d.example:8443/", "HTTP://SHOP.example:80/"])
def test_usual_urls_pass(url):
    target = Guard().target(url)
    assert not target.is_address and target.url.fragment == "" and target.host == target.host.lower() and target.host.isascii()


def test_nothing_of_this_machine_is_reached_without_the_argument_for_tests(site):
    names = Guard(lambda host, deadline: [LOCAL])
    for guard, host in ((names, "shop.example"), (Guard(), LOCAL), (Guard(), "[::1]"), (Guard(), f"[::ffff:{LOCAL}]")):
        assert refused(Fetcher(guard).fetch, f"http://{host}:{site.port}/").code == "refused"
        assert refused(Fetcher(guard).fetch, f"http://{host}:8080/").code == "refused"
    other = free_port()
    assert refused(site.fetcher().fetch, f"http://{LOCAL}:{other}/").code == "refused"
    assert refused(site.fetcher(lambda host, deadline: ["8.8.8.8"]).fetch, site.url()).code == "refused"  # the port is for loopback alone
    assert site.asked == []


def test_a_page_with_the_host_of_its_name(site):
    got = site.fetcher().fetch(site.url("/?q=1#part"))
    assert (got.url, got.type, got.body, got.cut) == (site.url("/?q=1"), "text/html", b"<title>Home</title><p>Hello.", False)
    assert site.asked == [(f"shop.example:{site.port}", "/robots.txt"), (f"shop.example:{site.port}", "/?q=1")]
    assert site.headers[1]["user-agent"].startswith("prstack/") and "cookie" not in site.headers[1] and "authorization" not in site.headers[1]


@pytest.mark.parametrize("to", ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "//127.0.0.1/", "http://[::1]/", "http://localhost/", "file:///etc/passwd", "http://[", "http://2130706433/", "http://user@shop.example:PORT/", "http://localhost:PORT/", "http://2130706433:PORT/", "http://shop.example.:PORT/", "http://inside.example/"])
def test_a_redirect_is_checked_like_the_first_address(site, to):
    site.redirect("/away", to.replace("PORT", str(site.port)))
    resolver = lambda host, deadline: ["10.9.8.7"] if host == "inside.example" else [LOCAL]  # noqa: E731
    assert refused(site.fetcher(resolver).fetch, site.url("/away")).code == "refused"
    assert [path for _, path in site.asked] == ["/robots.txt", "/away"]


def test_what_was_checked_is_what_is_connected_to(site):
    """A name that means another address at each question (rebinding) is asked once a fetch, and the answer is used."""
    second = Site("127.0.0.2", site.port)
    second.page("/", "<p>Another server.")
    answers, asked = [[LOCAL], ["127.0.0.2"], ["169.254.169.254"], [LOCAL, "10.0.0.1"]], []
    site.redirect("/again", "/")

    def resolver(host, deadline):
        asked.append(host)
        return answers[len(asked) - 1]

    try:
        fetcher = site.fetcher(resolver)
        assert fetcher.fetch(site.url("/again")).body == b"<title>Home</title><p>Hello."
        assert asked == ["shop.example"] and second.asked == []  # robots.txt, the page and where it led: one question
        assert fetcher.fetch(site.url()).body == b"<p>Another server."
        assert [path for _, path in second.asked] == ["/"]
        for _ in range(2):
            assert refused(fetcher.fetch, site.url()).code == "refused"
        assert len(asked) == 4
    finally:
        second.close()


def test_the_environment_gives_no_proxy_and_no_credentials(site, monkeypatch, tmp_path):
    trap = Site()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine shop.example login me password hidden\n")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{LOCAL}:{trap.port}")
    monkeypatch.setenv("NETRC", str(netrc))
    try:
        assert site.fetcher().fetch(site.url()).type == "text/html"
        assert trap.asked == [] and all("authorization" not in h for h in site.headers)
    finally:
        trap.close()


def test_the_next_address_is_tried_when_one_does_not_answer(site):
    assert site.fetcher(lambda host, deadline: ["127.0.0.3", LOCAL]).fetch(site.url()).type == "text/html"
    site.close()
    e = refused(site.fetcher().fetch, site.url())
    assert e.code == "unreachable" and "shop.example cannot be reached" in str(e)


def test_a_name_that_does_not_resolve(site):
    def nothing(host, deadline):
        raise OSError("no such host")

    for resolver in (nothing, lambda host, deadline: []):
        assert refused(Fetcher(Guard(resolver)).fetch, "http://shop.example/").code == "unreachable"
    assert LOCAL in system_resolver("localhost", Deadline(30)) or "::1" in system_resolver("localhost", Deadline(30))
    with pytest.raises(UnicodeError):
        system_resolver("a" * 64 + ".invalid", Deadline(30))
    with pytest.raises(WebError):
        system_resolver("localhost", Deadline(0))


# --- TLS -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def secure(tmp_path):
    """A site with a certificate for shop.example, and a context that trusts it."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "prstack test")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    built = built.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    cert = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), False).sign(key, hashes.SHA256())
    pem = tmp_path / "site.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(secret + cert.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    names: list[str] = []
    server.sni_callback = lambda _, name, __: names.append(name)
    site = Site(tls=server)
    site.page("/", "<p>Safe.")
    yield site, ssl.create_default_context(cafile=str(pem)), names
    site.close()


def test_the_certificate_is_checked_for_the_name_not_the_address(secure):
    site, trust, names = secure
    assert site.fetcher(tls=trust).fetch(site.url(scheme="https")).body == b"<p>Safe."
    assert set(names) == {"shop.example"}
    guard, count = Guard(lambda host, deadline: [LOCAL], frozenset({site.port})), len(site.asked)
    for fetcher, host in ((Fetcher(guard, tls=trust), "other.example"), (Fetcher(guard, tls=trust), LOCAL), (Fetcher(guard), "shop.example")):
        e = refused(fetcher.fetch, site.url(host=host, scheme="https"))
        assert e.code == "unreachable" and "certificate" in str(e)
    assert len(site.asked) == count


# --- limits --------------------------------------------------------------------------------------------------------
def test_a_long_page_is_cut(site):
    site.page("/long", b"x" * 50_000)
    got = site.fetcher(max_bytes=10_000).fetch(site.url("/long"))
    assert got.cut and got.body == b"x" * 10_000
    assert site.fetcher(max_bytes=50_000).fetch(site.url("/long")).cut is False


def test_an_endless_page_is_cut(site):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 10_000)

    site.pages["/endless"] = endless
    got = site.fetcher(max_bytes=30_000).fetch(site.url("/endless"))
    assert got.cut and len(got.body) == 30_000


def test_compression(site):
    site.page("/gzip", gzip.compress(b"hello " * 100), Content_Encoding="gzip")
    site.page("/deflate", zlib.compress(b"hello " * 100), Content_Encoding="Deflate")
    site.page("/bomb", gzip.compress(bytes(200_000_000), 9), Content_Encoding="gzip")
    site.page("/empty", b"\x78\x9c" + b"\0\0\0\xff\xff" * 20_000, Content_Encoding="deflate")
    site.page("/broken", b"not gzip at all", Content_Encoding="gzip")
    site.page("/other", b"x", Content_Encoding="br")
    site.page("/twice", gzip.compress(gzip.compress(b"x")), Content_Encoding="gzip, gzip")
    fetch = site.fetcher(max_bytes=40_000).fetch
    assert fetch(site.url("/gzip")).body == fetch(site.url("/deflate")).body == b"hello " * 100
    bomb = fetch(site.url("/bomb"))
    assert bomb.cut and len(bomb.body) == 40_000
    assert fetch(site.url("/empty")).cut and fetch(site.url("/empty")).body == b""  # the size before decompression counts as well
    for path in ("/broken", "/other", "/twice"):
        assert refused(fetch, site.url(path)).code == "bad_reply"
    assert {h["accept-encoding"] for h in site.headers} == {"gzip"}


def test_a_bomb_takes_no_more_memory_than_the_limit():
    bomb = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    try:
        body, cut = Reply(200, httpx.Headers({"content-encoding": "gzip"}), iter([bomb])).read(40_000)
        assert cut and len(body) == 40_000 and tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def drip(where):
    """A server that sends a byte now and then, from its head or in its body, for longer than anyone waits."""

    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + (b"\r\n" if where == "body" else b"X: "))
        while True:
            time.sleep(0.05)
            handler.wfile.write(b"x")
            handler.wfile.flush()

    return answer


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_slow_server_does_not_stretch_the_deadline(site, where):
    site.pages["/slow"] = drip(where)
    e = refused(site.fetcher(seconds=0.6).fetch, site.url("/slow"))
    assert e.code == "timeout" and "0.6 seconds" in str(e)


def test_the_deadline_covers_redirects_together(site):
    def late(handler):
        time.sleep(0.3)
        handler.send_response(302)
        handler.send_header("Location", f"{handler.path}x")
        handler.end_headers()

    for n in range(6):
        site.pages["/r" + "x" * n] = late
    assert refused(site.fetcher(seconds=0.8).fetch, site.url("/r")).code == "timeout"


def test_endless_redirects_end(site):
    site.redirect("/loop", "/loop")
    e = refused(site.fetcher().fetch, site.url("/loop"))
    assert e.code == "bad_reply" and "redirects" in str(e)
    assert [path for _, path in site.asked].count("/loop") == MAX_REDIRECTS + 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site, status):
    site.redirect("/old/page", "../?x=1", status)
    site.redirect("/older", site.url("/old/page", "www.shop.example"), status)
    got = site.fetcher().fetch(site.url("/older"))
    assert got.url == site.url("/?x=1", "www.shop.example") and got.body.startswith(b"<title>Home")


@pytest.mark.parametrize(
    ("headers", "says"),
    [({"Content-Type": "application/pdf"}, "application/pdf"), ({"Content-Type": "image/png"}, "image/png"), ({"Content-Type": "text/htmlx"}, "text/htmlx"), ({"Content-Type": ""}, "no stated type"), ({"Content-Type": "application/json; x=text/html"}, "application/json")],
)
def test_other_types_are_refused(site, headers, says):
    site.pages["/file"] = (200, headers, b"%PDF")
    e = refused(site.fetcher().fetch, site.url("/file"))
    assert e.code == "wrong_type" and says in str(e)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "TEXT/HTML", "text/plain", "application/xhtml+xml"])
def test_text_types_are_read(site, kind):
    site.page("/text", "x", Content_Type=kind)
    assert site.fetcher().fetch(site.url("/text")).type == kind.split(";")[0].lower()


@pytest.mark.parametrize("status", [204, 304, 400, 404, 410, 429, 500, 503])
def test_a_status_that_is_no_page(site, status):
    site.page("/gone", "" if status in (204, 304) else "<p>Sorry", status)
    e = refused(site.fetcher().fetch, site.url("/gone"))
    assert e.code == "http_status" and f"status {status}" in str(e)


def test_what_is_not_http(site):
    site.pages["/raw"] = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    site.pages["/short"] = lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99\r\n\r\nx")
    site.pages["/hang-up"] = lambda handler: None
    site.pages["/head"] = lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n")
    site.redirect("/nowhere", "http://shop.example:port/")
    for path in ("/raw", "/short", "/hang-up", "/head", "/nowhere"):
        assert refused(site.fetcher().fetch, site.url(path)).code == "bad_reply", path


# --- robots.txt ----------------------------------------------------------------------------------------------------
def test_robots_are_obeyed(site):
    site.page("/robots.txt", "\ufeffUser-agent: *\nDisallow: /\n\nUser-agent: prstack\nDisallow: /private/\n", Content_Type="text/plain")
    site.page("/private/page", "<p>Secret")
    site.redirect("/door", "/private/page")
    fetch = site.fetcher().fetch
    assert fetch(site.url()).type == "text/html"
    for path in ("/private/page", "/door"):
        e = refused(fetch, site.url(path))
        assert e.code == "robots" and "robots" in str(e)
    assert [path for _, path in site.asked] == ["/robots.txt", "/", "/door"]  # asked once, and the forbidden page never


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (410, True), (400, True), (401, False), (403, False), (429, False), (500, False), (503, False)])
def test_a_missing_robots_file_allows_a_failing_one_does_not(site, status, allowed):
    site.page("/robots.txt", "User-agent: *\nDisallow: /", status)
    if allowed:
        assert site.fetcher().fetch(site.url()).type == "text/html"
    else:
        assert refused(site.fetcher().fetch, site.url()).code == "robots"
        assert [path for _, path in site.asked] == ["/robots.txt"]


def test_robots_redirects_are_guarded(site):
    site.redirect("/robots.txt", "http://169.254.169.254/robots.txt")
    assert refused(site.fetcher().fetch, site.url()).code == "refused"
    site.redirect("/robots.txt", "/rules")
    site.page("/rules", "\ufeffUser-agent: *\nDisallow: /private", Content_Type="text/plain")
    assert site.fetcher().fetch(site.url()).type == "text/html"
    assert refused(site.fetcher().fetch, site.url("/private")).code == "robots"


def test_robots_are_kept_for_a_while_and_for_so_many_sites():
    now, asked = [0.0], []

    def load(address):
        asked.append(address)
        return (503, b"") if address.startswith("http://down") else (200, b"User-agent: *\nDisallow: /no")

    robots = Robots("prstack", lambda: now[0])
    assert robots.allows("http://a.example/x", "http://a.example", load) and not robots.allows("http://a.example/no", "http://a.example", load)
    assert not robots.allows("http://down.example/x", "http://down.example", load)
    assert asked == ["http://a.example/robots.txt", "http://down.example/robots.txt"]
    now[0] = KEPT_ERROR_SECONDS + 1
    robots.allows("http://down.example/x", "http://down.example", load)
    robots.allows("http://a.example/x", "http://a.example", load)
    assert len(asked) == 3
    now[0] = KEPT_SECONDS + 1
    robots.allows("http://a.example/x", "http://a.example", load)
    assert len(asked) == 4
    for n in range(MAX_SITES):
        robots.allows(f"http://s{n}.example/", f"http://s{n}.example", load)
    robots.allows("http://a.example/x", "http://a.example", load)
    assert asked[-1] == "http://a.example/robots.txt" and len(robots._sites) == MAX_SITES
