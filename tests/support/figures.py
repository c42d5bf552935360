"""What is looked at in a figure: its texts, and whether they lie on each other."""

from matplotlib.backends.backend_agg import FigureCanvasAgg


def texts_of_axes(axes):
    """Titles, labels, legends, notes, and the labels of ticks that are drawn."""
    found = [axes.title, *axes.texts]
    found += axes.get_legend().get_texts() if axes.get_legend() else []
    if axes.axison:
        for axis in (axes.xaxis, axes.yaxis):
            found += [axis.label, axis.get_offset_text()]
            found += [label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def texts_of(figure):
    """All texts that are seen, after a drawing."""
    found = [text for axes in figure.axes if axes.get_visible() for text in texts_of_axes(axes)]
    found += [text for text in figure.texts if text.get_visible() and text.get_text().strip()]
    return found + [text for legend in figure.legends for text in legend.get_texts()]


def texts_apart(figure):
    """Raise where two texts of a figure lie on each other, or one lies outside all that is saved."""
    FigureCanvasAgg(figure).draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    assert boxes
    for i, (first, a) in enumerate(boxes):
        for second, b in boxes[:i]:
            inside = min(a.x1, b.x1) - max(a.x0, b.x0) > 2 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
            assert not inside, f"{first!r} lies on {second!r}"


def said(figure):
    """The words of all texts."""
    return [text.get_text() for text in texts_of(figure)]
