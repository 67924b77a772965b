"""HTML and bytes to text: what is kept, what is dropped, and that no input breaks it."""

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.tools.live.charset import decode
from prstack.tools.live.extract import MAX_TEXT, extract, plain

PAGE = """<!doctype html><html><head><title> Quiet &amp; good
 blenders </title><style>p{}</style><script>if(a<b){document.write("<p>no</p>")}</script></head>
<body><nav><ul><li>Home<li>About</ul></nav>
<h1>Best blenders</h1><p>With <b>bold</b>, <i>it</i>alics<br>and a break.<p>Second &lt;tag&gt; &copy; &#8212; 3 < 4 & 5 > 2
<!-- a comment with <p>markup</p> > --><ul><li>One<li>Two<ul><li>nested</ul><li hidden>gone<li>Three</ul>
<table><thead><tr><th>Model<th>Noise</thead><tr><td><p>A1</p><p>new</p></td><td>58&nbsp;dB</td></tr><tr><td>B2<td></table>
<div style="DISPLAY : none">gone<div>gone</div>gone</div>after
<pre>line 1
  line 2</pre><svg><title>gone</title><text>gone</text></svg><template><p>gone</template><noscript><div><p>gone</noscript>
<a href="x>y" title='a "b" > c'>link</a><textarea>gone</textarea><select><option>gone</select> end
</body></html>"""


def test_a_page_line_by_line():
    page = extract(PAGE)
    assert page.title == "Quiet & good blenders"
    assert page.text.splitlines() == [
        "Best blenders",
        "With bold, italics",
        "and a break.",
        "Second <tag> © — 3 < 4 & 5 > 2",
        "- One",
        "- Two",
        "- nested",
        "- Three",
        "Model | Noise",
        "A1 new | 58 dB",
        "B2 |",
        "after",
        "line 1",
        "line 2",
        "link end",
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p hidden>gone<p>kept", "kept"),
        ("<p HIDDEN=''>gone</p>kept", "kept"),
        ("<div hidden='until-found'>gone</div>kept", "kept"),
        ("<span aria-hidden=true>gone</span>kept", "kept"),
        ("<span aria-hidden='false'>kept</span>", "kept"),
        ("<span aria-hidden=' TRUE '>gone<b>gone</b>gone</span>kept", "kept"),
        ("<i style='visibility:hidden'>gone</i>kept", "kept"),
        ("<i style='color:red; visibility : collapse'>gone</i>kept", "kept"),
        ("<i style='display:/**/none !important'>gone</i>kept", "kept"),
        ("<i style='displ&#97;y:none'>gone</i>kept", "kept"),
        ("<i style='display:block'>kept</i>", "kept"),
        ("<i class='hidden' data-style='display:none'>kept</i>", "kept"),
        ("<i style=kept style='display:none'>kept</i>", "kept"),
        ("<div hidden><div>gone</div>gone<p>gone</div>kept", "kept"),
        ("<div hidden><table><tr><td>gone</div>gone</table>gone</div>kept", "kept"),
        ("<span hidden><div>gone</span>gone</div>gone</span>kept", "kept"),
        ("<ul><li hidden><ul><li>gone</ul>gone</li><li>kept</ul>", "- kept"),
        ("<table><tr><td hidden>gone<td>kept<tr><td>kept</table>", "kept\nkept"),
        ("<body style='display:none'><p>kept", "kept"),
        ("<div hidden>" + "<div>" * 300 + "</div>" * 300 + "gone</div>kept", "kept"),
        ("<script>gone</scripty>gone</SCRIPT >kept", "kept"),
        ("<script>gone", ""),
        ("<style>gone</style\n>kept<nav>gone<nav>gone</nav>gone</nav>kept", "kept\nkept"),
        ("<!-->kept<!--->kept<!-- gone -->kept<!gone><?gone?>kept", "keptkeptkeptkept"),
        ("kept<!-- gone", "kept"),
        ("kept<a href='gone", "kept"),
        ("kept<a href=\"x>kept</a>", "keptkept"),
        ("<p>a</p></p></div></table></nothing><p>b", "a\nb"),
        ("<3 </ > <> kept", "<3 </ > <> kept"),
        ("<dl><dt>a<dd>b<dt>c<dd>d</dl>", "a\nb\nc\nd"),
        ("<details><summary>a</summary>b</details>", "a\nb"),
        ("<img alt=x hidden>kept<input hidden>kept<br hidden>kept", "keptkept\nkept"),
        ("&#" + "1" * 9000 + ";kept&#x" + "1" * 9000 + ";&#xD800;&#0;", "\ufffdkept\ufffd\ufffd\ufffd"),
        ("<p hidden style='&#" + "1" * 9000 + ";'>gone<p>kept", "kept"),
        ("<p " + "x" * 9000 + " hidden>kept", "kept"),
        ("<p hidden " + "x=y " * 9000 + ">gone<p>kept", "kept"),
    ],
)
def test_what_is_kept(html, text):
    assert extract(html).text == text


def test_the_main_part_stands_for_a_page_where_it_holds_enough():
    long = "<p>" + "words " * 100
    assert "menu" not in extract(f"menu<main>{long}</main>footer").text
    assert extract(f"menu<article>{long}</article><article>second</article>").text.splitlines()[-1] == "second"
    assert extract("menu<main><p>short</main>footer").text == "menu\nshort\nfooter"


def test_titles():
    assert extract("<h1>Head<br>line</h1><h1>Other</h1>").title == "Head"
    assert extract("<title>a</title><title>b</title><h1>c</h1>").title == "a"
    assert extract("<title>never closed").title == "never closed"
    assert extract("<svg><title>x</title></svg>").title == ""


def test_xhtml_closes_empty_elements():
    page = "<html><head><title>T</title><script src='x'/></head><body><div hidden='hidden'/><p>kept</p></body></html>"
    assert extract(page, xhtml=True).text == "kept" and extract(page).text == ""


def test_snippets():
    assert plain("a <strong>b</strong> &amp; c\n d") == "a b & c d" and plain("3 < 4  & 5") == "3 < 4 & 5" and plain(" a\tb ") == "a b"


HOSTILE = {
    "opening": "<" * 10_000_000,
    "deep": "<div>" * 2_000_000,
    "closing": "</div>" * 1_600_000,
    "comments": "<!--" * 2_500_000,
    "declarations": "<!" * 5_000_000,
    "tags": "<a " * 3_000_000,
    "ends": "</a " * 2_500_000,
    "name": "<" + "a" * 10_000_000,
    "quotes": '<a b="c>' * 1_200_000,
    "both quotes": "<a b='c\" d=\"e'>" * 600_000,
    "hidden": "<p hidden>" * 1_000_000,
    "attributes": ("<a " + "hidden=a " * 400 + ">") * 2_500,
    "spaces": ("<a hidden" + " " * 4000 + "=") * 2_400,
    "equals": ("<a hidden " + "= " * 2000 + "'>") * 2_400,
    "comments in styles": ('<a style="' + "/*" * 1900 + '">') * 2_500,
    "scripts": "<script></script" * 600_000,
    "titles": "<title>" * 1_400_000,
    "references": "&a" * 5_000_000,
    "number": "&#" + "1" * 10_000_000 + ";",
    "cells": "<table><tr>" + "<td>x" * 2_000_000,
    "tables": "<table><tr><td>" * 700_000,
    "mixed": "<b><div hidden></b>" * 500_000,
    "lines": "<pre>" + "\n" * 10_000_000,
    "drawings": "<svg><title>" * 700_000,
}


@pytest.mark.parametrize("html", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pages_end(html):
    """Ten megabytes of what makes parsers slow; a quadratic one would take hours."""
    assert len(extract(html).text) <= MAX_TEXT


MARKUP = st.lists(st.sampled_from(["<", ">", "</", "/>", "<!--", "-->", "<!", "<?", "=", '"', "'", "&", "&#", ";", "&lt;", " ", "\n", "\x00", "hidden", "style", "a", "<p>", "</p>", "<div hidden>", "</div>", "<td>", "<table>", "</table>", "<script>", "</script>", "<title>", "</title>", "<li>", "<h1>", "</h1>", "<nav>", "</nav>", "<svg/>", "<pre>", "ü"]), max_size=60).map("".join)


@given(st.one_of(st.text(), st.text(st.characters(exclude_categories=())), MARKUP), st.booleans())
@settings(max_examples=500, deadline=None)
def test_extract_never_raises(html, xhtml):
    page = extract(html, xhtml)
    assert all(line and line == " ".join(line.split()) for line in page.text.splitlines())
    assert extract(html, xhtml) == page


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="<&\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
@settings(max_examples=200, deadline=None)
def test_text_without_markup_stays(text):
    line = " ".join(text.split())
    assert extract(text).text == (line if line.strip("-| ") else "")


# --- characters ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("grün".encode(), "text/html; charset=utf-8", "grün"),
        ("grün".encode("latin-1"), "text/html; charset=ISO-8859-1", "grün"),
        ("“grün” €".encode("cp1252"), "text/html; charset=iso-8859-1", "“grün” €"),
        ("зелёный".encode("koi8-r"), "text/html;charset='koi8-r'", "зелёный"),
        ("緑".encode("shift_jis"), 'text/html; Charset = "Shift_JIS"', "緑"),
        (codecs.BOM_UTF8 + "grün".encode(), "text/html; charset=latin-1", "grün"),
        (codecs.BOM_UTF16_LE + "grün".encode("utf-16-le"), "text/html; charset=utf-8", "grün"),
        (codecs.BOM_UTF16_BE + "grün".encode("utf-16-be"), "", "grün"),
        (b'<meta charset="windows-1251">' + "да".encode("cp1251"), "text/html", '<meta charset="windows-1251">да'),
        (b"<META http-equiv=x content='text/html; charset=gb2312'>" + "绿".encode("gbk"), "", "<META http-equiv=x content='text/html; charset=gb2312'>绿"),
        (b'<?xml version="1.0" encoding="iso-8859-2"?>' + "zieleń".encode("iso8859-2"), "", '<?xml version="1.0" encoding="iso-8859-2"?>zieleń'),
        (b"<meta charset=utf-16>ok", "", "<meta charset=utf-16>ok"),
        ("grün".encode(), "", "grün"),
        ("grün".encode()[:3], "", "gr\ufffd"),
        ("grün ".encode("latin-1"), "", "grün "),
        (b"gr\xffn", "text/html; charset=utf-8", "gr\ufffdn"),
        (b"ok", "text/html; charset=no-such-thing", "ok"),
        (b"ok-", "text/html; charset=punycode", "ok-"),
        (b"+AGE-", "text/html; charset=utf-7", "+AGE-"),
        (b"\\x41", "text/html; charset=unicode_escape", "\\x41"),
        (b"ok", "text/html; charset=rot13", "ok"),
        (b"", "", ""),
    ],
)
def test_charsets(body, content_type, text):
    assert decode(body, content_type) == text


@given(st.binary(max_size=300), st.one_of(st.text(max_size=40), st.sampled_from(["", "charset=utf-8", "charset=utf-16", "charset=gbk", "charset=iso-2022-jp", "charset=cp874", "charset=zip", "charset=hex", "charset=\x00"])))
@settings(max_examples=300, deadline=None)
def test_decode_never_raises(body, content_type):
    decode(body, content_type).encode()
