"""E-mail addresses, IP addresses, and URLs that carry a secret."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from sqlllm.redact.entities import Span
from sqlllm.redact.text import Words

LOCAL = re.compile(r"[\w.+%'&~=#!$*-]{1,256}")  # read backwards from the @
DOMAIN = re.compile(
    r"(?!\d+\.\d+\.)"  # react@18.2.0-rc.next is a version
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+(?:xn--[a-zA-Z0-9-]{2,59}|[a-zA-Z]{2,63}(?![a-zA-Z0-9])"
    r"|[^\W\d_a-zA-Z]{2,63}(?!\w))"  # text in another script, or a dash, may stand right behind it
)
SCREEN = re.compile(r"\dx\.(?:png|jpe?g|gif|svg|webp)\Z", re.IGNORECASE)  # logo@2x.png


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses.

    Example:
        >>> [span.value for span in emails("Write to 'Ann.Lee+x@Example.org', not to @ann.")]
        ['ann.lee+x@example.org']
    """
    at = text.find("@")
    while at >= 0:
        local = LOCAL.match(text[max(0, at - 256) : at][::-1])
        domain = DOMAIN.match(text, at + 1)
        if local and domain and not SCREEN.search(domain[0]):
            start = at - len(_without_key(local[0][::-1]))
            if start < at:
                yield Span(start, domain.end(), "email", text[start : domain.end()].casefold())
        at = text.find("@", at + 1)


def _without_key(local: str) -> str:
    """Without the quote that opens it, or the key in `email=ann@example.org`."""
    return re.sub(r"^(?:[^\W\d_]+=)?[.'=&#!$*~-]*", "", local)


IPV4 = re.compile(
    r"[0-9](?<![a-zA-Z0-9.][0-9])(?<!\w-[0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![a-zA-Z0-9]|\.\w)",
    re.ASCII,
)
IPV6 = re.compile(
    r"[0-9a-fA-F:](?<![\w:.][0-9a-fA-F:])(?=[0-9a-fA-F]{0,3}:)"
    r"(?:[0-9a-fA-F:]{1,29}:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-fA-F:]{1,38})"
    r"(?:%\w{1,15})?(?!\w|:[0-9a-fA-F])",
    re.ASCII,
)
# 4.2.1.0 after one of these is no address.
VERSION = Words(
    r"v|ver|versions?|release|rel|build|firmware|driver|sections?|sec|chapter|clause|item"
    r"|(?:headless)?chrom\w*/|edge?/|opr/|opera/|safari/|firefox/|crios/|electron/",
    gap=r"[ .:=#]{0,2}",
)


def ips(text: str) -> Iterator[Span]:
    """IP addresses of both versions; version numbers of four parts are left where a word says so.

    Example:
        >>> [span.value for span in ips("10.0.0.7, [2001:DB8::1]:80, version 4.2.1.0, 12:30:45")]
        ['10.0.0.7', '2001:db8::1']
    """
    for match in IPV4.finditer(text):
        if _is_ip(match[0]) and not VERSION.near(text, *match.span()):
            yield Span(*match.span(), "ip", match[0])
    for match in IPV6.finditer(text) if text.count(":") > 1 else ():
        found = match[0] if match[0].endswith("::") else match[0].rstrip(":")
        # `DB::CA` is a name in a program, and eight pairs of digits are a fingerprint.
        if re.search(r"\d" if "::" in found else r"[0-9a-fA-F]{3}", found) and _is_ip(found):
            value = str(ipaddress.ip_address(found))
            yield Span(match.start(), match.start() + len(found), "ip", value)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


URL = re.compile(r"(?<![^\W_])[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s<>\"'`]+")
USER_INFO = re.compile(r"[^:/?#]+://[^/?#@]*:[^/?#@]+@")
SECRET = re.compile(
    r"[?&#;](?!(?:next[_-]?)?page[_-]?token)(?:[\w.-]*[_.-])?"
    r"(?:(?:access|refresh|id|auth|api|sas|csrf|reset|session)?[_-]?token|api[_-]?key|key"
    r"|access[_-]?key(?:[_-]?id)?|(?:client[_-]?)?secret|sig|signature|credential|hmac|jwt|otp"
    r"|pass(?:word|wd|phrase)?|pwd|auth(?:orization)?|session(?:[_-]?id)?|sid(?==\w{16})"
    r"|awsaccesskeyid|googleaccessid)=[^&#;]",
    re.IGNORECASE,
)


def urls(text: str) -> Iterator[Span]:
    """URLs that carry a secret: `user:password@`, or a parameter such as `token=` or `sig=`.

    Example:
        >>> [s.value for s in urls("See https://a.io/x?page=2 and https://a.io/x?sig=8f2c1.")]
        ['https://a.io/x?sig=8f2c1']
    """
    for match in URL.finditer(text) if "://" in text else ():
        url = match[0].rstrip(".,;:!?)}]*_")
        if USER_INFO.match(url) or SECRET.search(url):
            yield Span(match.start(), match.start() + len(url), "url", url)
