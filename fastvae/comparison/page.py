"""The page of a comparison: one file, readable offline, on a phone, in the dark, and on paper."""

import base64
import html
import pathlib
from typing import Any

from fastvae.atomic import atomic_file
from fastvae.comparison.entries import Entry
from fastvae.comparison.table import remarks, tables

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; } h3 { margin-bottom: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; white-space: nowrap; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
td.why { text-align: left; white-space: normal; color: var(--faint); }
img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
.faint { color: var(--faint); }
"""

NOT_LIKELIHOODS = (
    "A Parzen window over samples is no likelihood of the model that made them: it has a bandwidth of its own, needs "
    "more samples than there are, and ranks models wrongly. The published 225 nats of a GAN, 214 of a GSN and 150 of a "
    "denoising autoencoder are such figures; these models have no density that could be evaluated.",
    'A widely copied "79.3" nats of a MADE averages the logits of several orderings. The mean of logits belongs to no '
    "distribution over rows; the mean of the orderings' joint probabilities does, and gives larger, correct figures.",
    "Annealed importance sampling alone errs to the flattering side: it underestimates log Z, and a published RBM has "
    "-84.86 nats by it and -96.61 by its reverse. So both are shown here, and the truth lies between.",
    "Figures on fixed and on dynamic binarisation differ by about 2 nats on the same images, and a density of grey "
    "values is yet another quantity: none of them may be compared with another.",
)


def write_page(
    path: pathlib.Path, name: str, conventions: list[str], rows: dict[str, dict[str, Any]],
    entries: dict[str, Entry], pictures: dict[str, pathlib.Path],
) -> None:  # fmt: skip
    """Write it: the table of all rows, the pictures, by title to file, and what each model is, in words."""
    e = html.escape
    parts = [f"<h1>{e(name)}: models beside each other</h1>"]
    parts += [f'<p class="faint">{e(line)}</p>' for line in conventions]
    for table in tables(rows):
        heading = ["", *table.heading]
        cells = ["<tr>" + "".join(f"<th>{e(word)}</th>" for word in heading) + "</tr>"]
        for row in table.rows:
            if len(row) == len(heading):
                cells.append("<tr>" + "".join(f"<td>{e(word)}</td>" for word in row) + "</tr>")
            else:
                why = f'<td class="why" colspan="{len(heading) - 1}">{e(row[1])}</td>'
                cells.append(f"<tr><td>{e(row[0])}</td>{why}</tr>")
        parts += [
            f"<h2>{e(table.title[0].upper() + table.title[1:])}</h2>", '<div class="wide"><table>', *cells,
            "</table></div>", f'<p class="faint">{e(table.note)}.</p>',
        ]  # fmt: skip
    parts += [f"<p>{e(line)}</p>" for line in remarks(rows)]
    for title, file in pictures.items():
        data = base64.b64encode(file.read_bytes()).decode()
        parts.append(f'<h2>{e(title)}</h2><img alt="{e(title)}" src="data:image/png;base64,{data}">')
    parts.append("<h2>What each model is</h2>")
    for entry in entries.values():
        parts.append(f"<h3>{e(entry.title)}</h3><p>{e(' '.join(entry.words))}</p>")
    parts.append("<h2>Published figures that are no likelihoods</h2>")
    parts += [f"<p>{e(text)}</p>" for text in NOT_LIKELIHOODS]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{e(name)}: models beside each other</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )
    with atomic_file(path) as stream:
        stream.write(page.encode())
