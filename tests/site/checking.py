"""What a built site must hold to, looked for in its files: links that lead somewhere, nothing loaded from elsewhere."""

import pathlib
import re
from html.parser import HTMLParser
from urllib.parse import SplitResult, unquote, urlsplit

ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
LOADS = {"src", "srcset", "poster", "data", "background", "href", "xlink:href"}  # of any element but <a>


class Page(HTMLParser):
    """One page: its ids, where it leads, and what a browser loads with it.

    Attributes
    ----------
    ids
        All ids, and names of anchors.
    links, loads
        (line, address) of each.
    styles
        (line, CSS) of each element and attribute.
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.ids, self.twice = set[str](), list[tuple[int, str]]()
        self.links, self.loads, self.styles = list[tuple[int, str]](), list[tuple[int, str]](), list[tuple[int, str]]()
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line, given = self.getpos()[0], {name: value or "" for name, value in attrs}
        for name in {given.get("id"), given.get("name") if tag == "a" else None} - {None, ""}:
            if name in self.ids:
                self.twice.append((line, str(name)))
            self.ids.add(str(name))
        if tag == "a" and "href" in given:
            self.links.append((line, given["href"]))
        else:
            for name in sorted(LOADS & given.keys() - ({"data"} if tag != "object" else set())):
                parts = given[name].split(",") if name == "srcset" else [given[name]]
                self.loads += [(line, part.split()[0] if name == "srcset" else part) for part in parts]
        if "style" in given:
            self.styles.append((line, given["style"]))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append((self.getpos()[0], data))

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def loaded_by(css: str) -> list[str]:
    """What a style sheet loads."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    found = re.findall(r"url\(\s*(\"[^\"]*\"|'[^']*'|[^)]*)\s*\)|@import\s+(\"[^\"]*\"|'[^']*')", css)
    return [(one or other).strip("\"' ") for one, other in found]


class Site:
    """A folder of pages, and what is wrong with it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder.resolve()
        files = sorted(self.folder.rglob("*.html"))
        self.pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}

    def outside(self) -> dict[str, list[str]]:
        """Each address that a link gives and that lies elsewhere, to the pages that give it."""
        found: dict[str, list[str]] = {}
        for path, page in self.pages.items():
            for _, address in page.links:
                if ELSEWHERE.match(address):
                    found.setdefault(address, []).append(self._name(path))
        return found

    def problems(self) -> list[str]:
        """All that is wrong, a line each."""
        found = list[str]()
        for path, page in self.pages.items():
            found += [f"{self._name(path)}:{line}: the id {name!r} is there twice" for line, name in page.twice]
            for line, address in page.links:
                wrong = badly_formed(address) if ELSEWHERE.match(address) else self._missing(path, address)
                found += [f"{self._name(path)}:{line}: {wrong}"] if wrong else []
            loads = page.loads + [(line, each) for line, css in page.styles for each in loaded_by(css)]
            for line, address in loads:
                wrong = self._not_here(path, address)
                found += [f"{self._name(path)}:{line}: {wrong}"] if wrong else []
        for path in sorted(self.folder.rglob("*.css")) + sorted(self.folder.rglob("*.svg")):
            text = path.read_text(encoding="utf-8")
            addresses = loaded_by(text)
            if path.suffix == ".svg":
                addresses += re.findall(r"<(?:image|use|script|style|link)\b[^>]*?href=\"([^\"]*)\"", text)
                addresses = [address for address in addresses if not address.startswith("#")]
            found += [f"{self._name(path)}: {wrong}" for each in addresses if (wrong := self._not_here(path, each))]
        return found

    def _name(self, path: pathlib.Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _not_here(self, path: pathlib.Path, address: str) -> str | None:
        """Why what is loaded does not come with the site."""
        if address.startswith("data:"):
            return None
        return f"loads {address} from elsewhere" if ELSEWHERE.match(address) else self._missing(path, address)

    def _missing(self, path: pathlib.Path, address: str) -> str | None:
        """Why an address inside the site leads nowhere."""
        parts = urlsplit(address)
        if parts.path.startswith("/"):
            return f"{address} begins at a root, which a folder of files does not have"
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_relative_to(self.folder) or not target.is_file():
            return f"{address} leads to no file of the site"
        fragment = unquote(parts.fragment)
        if fragment and target in self.pages and fragment not in self.pages[target].ids | {"top"}:
            return f"{address} leads to no place in {self._name(target)}"
        return None


def badly_formed(address: str) -> str | None:
    """Why an address elsewhere cannot be one; whether it is there, only a network tells."""
    parts: SplitResult = urlsplit(address)
    if parts.scheme == "mailto":
        return None if re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", parts.path) else f"{address} is no address of mail"
    if parts.scheme not in ("http", "https"):
        return f"{address} is neither http nor https"
    if not re.fullmatch(r"([\w-]+\.)+[a-z]{2,}(:\d+)?", parts.netloc) or re.search(r"\s", address):
        return f"{address} is not formed as an address is"
    return None
