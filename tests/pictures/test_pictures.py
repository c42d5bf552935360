"""What the public pictures draw: the numbers in them, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")

from fastvae import GAN, MADE, VAE, Autoencoder, TableVAE, pictures
from fastvae.data.columns import Column
from fastvae.evaluation.conformal import threshold
from fastvae.evaluation.drawing import limits_of
from fastvae.pictures.correlations import correlation, numbers_of
from fastvae.pictures.pairs import density
from fastvae.pictures.tables import marginals_figure, reconstructed_columns
from tests.support.figures import said, texts_apart

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((80, 20)) * np.linspace(0, 1, 20)).astype(np.float32)
SHAPE = (5, 4)
TABLE = RNG.normal(size=(90, 3)) @ RNG.normal(size=(3, 4))


@pytest.fixture(scope="module")
def images():
    return VAE(3, (6,), epochs=2, early_stopping=False, random_state=0).fit(IMAGES)


@pytest.fixture(scope="module")
def table():
    return VAE(2, (6,), likelihood="gaussian", epochs=2, early_stopping=False, random_state=0).fit(TABLE)


@pytest.fixture(scope="module")
def mixed():
    site = np.array(["fen", "bog", "heath"])[RNG.integers(0, 3, 90)]
    rows = {"length": TABLE[:, 0].copy(), "site": site, "eggs": RNG.poisson(2, 90)}
    rows["length"][::9] = np.nan
    return TableVAE(2, epochs=2, early_stopping=False, random_state=0).fit(rows), rows


def drawn_images(figure, shape):
    """The images of a grid, (rows, columns, H, W), and the ends of its grey."""
    image, (height, width) = figure.axes[0].images[0], shape
    canvas = np.asarray(image.get_array().filled(np.nan), np.float64)
    gaps = [np.isnan(canvas).all(axis=axis) for axis in (1, 0)]
    starts = [[i for i in range(1, len(gap)) if gap[i - 1] and not gap[i]] for gap in gaps]
    grid = [[canvas[y : y + height, x : x + width] for x in starts[1]] for y in starts[0]]
    return np.array(grid), image.get_clim()


def test_samples_of_images_stand_below_data(images):
    figure = pictures.samples(images, 16, X=IMAGES, image_shape=SHAPE)
    grid, clim = drawn_images(figure, SHAPE)
    assert grid.shape[:2] == (4, 8)
    np.testing.assert_allclose(grid[2:].reshape(16, 20), images.sample(16, random_state=0), atol=1e-6)
    real = grid[:2].reshape(16, 20)
    assert all((row == IMAGES).all(axis=1).any() for row in real.astype(np.float32))
    assert clim == pytest.approx(limits_of(real))
    texts_apart(figure)
    assert {"data", "samples"} <= set(said(figure))


def test_reconstructions_share_limits_that_few_odd_pixels_do_not_widen():
    rows = RNG.normal(size=(60, 400))
    rows[3, 7] = 1e6
    model = VAE(2, (6,), likelihood="gaussian", epochs=1, early_stopping=False, random_state=0).fit(rows)
    figure = pictures.reconstructions(model, rows, image_shape=(20, 20), n=4)
    grid, (low, high) = drawn_images(figure, (20, 20))
    assert grid.shape[:2] == (2, 4)
    np.testing.assert_allclose(grid[1, 0].ravel(), model.reconstruct(rows[:1])[0], rtol=1e-5, atol=1e-5)
    assert -10 < low < -1
    assert 1 < high < 10


def test_a_grid_of_codes_rises_to_the_right_and_upwards(images, table):
    figure = pictures.latent_grid(images, (2, 0), image_shape=SHAPE, n=5)
    grid, _ = drawn_images(figure, SHAPE)
    z = np.zeros((2, 3), np.float32)
    z[0, [2, 0]] = -1.2815516, 1.2815516  # quantiles of 0.1 and 0.9: on the left, above
    z[1, [2, 0]] = 1.2815516, -1.2815516
    first, last = images.decode(z)
    np.testing.assert_allclose(grid[0, 0].ravel(), first, atol=1e-5)
    np.testing.assert_allclose(grid[-1, -1].ravel(), last, atol=1e-5)
    assert figure.axes[0].get_xlabel() == "$z_{2}$ at quantiles of N(0, 1)"
    maps = pictures.latent_grid(table, n=6)
    texts_apart(maps)
    drawn = [axes.images[0].get_array() for axes in maps.axes if axes.images]
    assert len([image for image in drawn if image.shape == (6, 6)]) == 4


def test_a_column_that_no_dimension_moves_has_one_number_beside_its_map(table):
    still = table._copy_with(vars(table))
    still.decode = lambda Z: np.full((len(Z), 4), 2008.0, np.float32)
    maps = pictures.latent_grid(still, n=4)
    assert [float(text.get_text()) for text in maps.axes[4].get_yticklabels()] == [2008.0]


@pytest.mark.parametrize(("low", "high"), [(0, 5), (0, 29), (0, 30), (170, 240), (0, 1000)])
def test_bins_of_whole_numbers_have_as_many_of_them_each(low, high):
    from fastvae.pictures.subject import Column
    from fastvae.pictures.tables import BINS, edges_of

    column = Column("n", "negative_binomial", "int64", (), True)
    edges = np.array(edges_of(column, np.arange(low, high + 1.0)))
    counts = np.histogram(np.arange(low, high + 1), edges)[0]
    assert counts.sum() == high + 1 - low
    assert len(set(counts[:-1])) == 1
    assert len(counts) <= BINS + 1


def test_traversals_move_one_dimension(images, table, mixed):
    grid, _ = drawn_images(pictures.traversals(images, dimensions=[1], values=[-1, 2], image_shape=SHAPE), SHAPE)
    np.testing.assert_allclose(grid[0, 1].ravel(), images.decode(np.array([[0, 2, 0]], np.float32))[0], atol=1e-5)
    lines = pictures.traversals(table, values=[-1, 0, 1]).axes[0].lines
    z = np.array([[-1, 0], [0, 0], [1, 0]], np.float32)
    np.testing.assert_allclose(lines[0].get_ydata(), table.decode(z)[:, 0], rtol=1e-5)
    figure = pictures.traversals(mixed[0])
    texts_apart(figure)
    low, high = figure.axes[1].get_ylim()
    assert low > high  # the first level above, as in other pictures
    autoencoder = Autoencoder(2, (4,), epochs=1, random_state=0).fit(IMAGES)
    texts_apart(pictures.traversals(autoencoder, IMAGES))
    with pytest.raises(ValueError, match="no prior over its codes: pass X"):
        pictures.traversals(autoencoder)


def test_marginals_pairs_and_correlations_are_of_data_and_samples(table, mixed):
    figure = pictures.marginals(table, TABLE, n_samples=500)
    drawn = table.sample(500, random_state=0, noise=True)
    bars = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_height")]
    assert len(bars) == 28  # of 90 rows
    heights, edges = [bar.get_height() for bar in bars], [bar.get_x() for bar in bars]
    assert sum(heights) == pytest.approx(1)
    assert edges[0] <= min(TABLE[:, 0].min(), np.quantile(drawn[:, 0], 0.005)) + 1e-6
    figure = pictures.pairs(table, TABLE, columns=[2, 0])
    texts_apart(figure)
    np.testing.assert_allclose(figure.axes[2].collections[0].get_offsets(), TABLE[:, [2, 0]])
    figure = pictures.correlations(table, TABLE, n_samples=500)
    matrices = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3]]
    np.testing.assert_allclose(matrices[0], np.corrcoef(TABLE.T), atol=1e-9)
    np.testing.assert_allclose(matrices[1], np.corrcoef(drawn.T.astype(float)), atol=1e-6)
    np.testing.assert_allclose(matrices[2], matrices[1] - matrices[0])
    model, rows = mixed
    for picture in (pictures.marginals, pictures.pairs, pictures.correlations, pictures.reconstructions):
        texts_apart(picture(model, rows))


def test_few_rows_have_few_bins_and_no_contours(table):
    figure = pictures.marginals(table, TABLE[:18], n_samples=500)
    assert len([patch for patch in figure.axes[0].patches if hasattr(patch, "get_height")]) == 12
    figure = pictures.pairs(table, TABLE[:18], n_samples=500)
    assert "500 samples: 50% and 90% within" in said(figure)
    assert "data: 50% and 90% within" not in said(figure)


def test_few_values_far_out_do_not_flatten_a_histogram():
    column = Column("reads", "gaussian", "float64")
    data = np.concatenate([np.linspace(0, 1, 990), np.full(10, 1000.0)])
    figure = marginals_figure((column,), data[:, None], data[:500, None])
    axes = figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches if hasattr(bar, "get_height")]
    assert sum(heights) == pytest.approx(1)  # those far out are in the last bar
    assert axes.get_xlim()[1] < 2
    assert axes.get_xlabel() == "1% and 0% further out, in the bars at the ends"
    even = marginals_figure((column,), data[:990, None], data[:500, None]).axes[0]
    assert even.get_xlabel() == ""


def test_of_levels_that_are_not_shown_there_is_a_row_and_a_column():
    """So that the shares of a row of the table add up to one, and no row of the data is left out."""
    column = Column("site", "categorical", "object", tuple(f"level {i}" for i in range(30)))
    x = np.repeat(np.arange(30.0), 4)
    figure = reconstructed_columns((column,), x[:, None], np.roll(x, 1)[:, None])
    shares = figure.axes[0].images[0].get_array()
    assert shares.shape == (11, 11)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(names) == 11  # all of them
    assert names[-1] == "20 others"


def test_traversals_of_a_table_say_under_which_condition():
    model = VAE(2, (6,), likelihood="gaussian", epochs=1, early_stopping=False, random_state=0)
    figure = pictures.traversals(model.fit(TABLE, condition=np.arange(90) % 3), condition=2)
    texts_apart(figure)
    assert "value of the one dimension that moves, in deviations of the prior\ncondition: 2" in said(figure)


def test_points_that_many_rows_share_are_seen_to_be_many():
    column = Column("eggs", "poisson", "int64", (), True)
    x = np.repeat([1.0, 2.0], 50)
    figure = reconstructed_columns((column,), x[:, None], x[:, None])
    points = figure.axes[0].lines[1].get_xydata()
    assert len(np.unique(points, axis=0)) == 100
    np.testing.assert_array_equal(np.rint(points), np.column_stack([x, x]))


def test_pictures_say_of_which_rows_they_are_and_what_of_the_model(table, images, mixed):
    output = "; output: mean of p(x|z) at the mean of q(z|x)"
    assert f"10 rows{output}" in said(pictures.reconstructions(images, IMAGES, image_shape=SHAPE))
    assert f"90 rows{output}" in said(pictures.reconstructions(table, TABLE))
    assert f"90 rows{output.replace('mean of p', 'best single value of p')}" in said(pictures.reconstructions(*mixed))
    assert "mean of q(z|x) of 90 rows, 2 dimensions" in said(pictures.latent(table, TABLE))
    assert "means of p(x|z)" in said(pictures.latent_grid(table, n=4))
    assert "means of p(x|z)" in said(pictures.traversals(images, image_shape=SHAPE))
    assert "2,000 draws from p(x|z)" in said(pictures.samples(table, X=TABLE))


def test_circles_of_the_prior_are_round(table):
    figure = pictures.latent(table, TABLE * [1, 1, 1, 4])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (1, 1)])
    assert x1 - x0 == pytest.approx(y1 - y0, rel=0.01)


def test_correlations_of_gaps_count_rows_that_have_both():
    values = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 3)) * [1, 1e-6, 1e8] + [0, 5, 0]
    values[::3, 0], values[::4, 1] = np.nan, np.nan
    for i, j in ((0, 1), (1, 2)):
        both = np.isfinite(values[:, [i, j]]).all(axis=1)
        assert correlation(values)[i, j] == pytest.approx(np.corrcoef(values[both][:, [i, j]].T)[0, 1], abs=1e-9)
    assert correlation(np.ones((5, 2))).tolist() == [[1, 0], [0, 1]]


def test_a_category_has_a_column_for_each_level(mixed):
    model, rows = mixed
    data = np.asarray(model.columns_.encode(rows), float)
    values, owners, names = numbers_of(model.columns_.columns, data)
    assert names == ["length", "site = bog", "site = fen", "site = heath", "eggs"]
    assert owners.tolist() == [0, 1, 1, 1, 2]
    np.testing.assert_array_equal(values[:, 2], rows["site"] == "fen")


def test_contours_hold_the_shares_that_they_say():
    points = RNG.normal(size=(40_000, 2))
    x, y, heights, levels = density(points, (-6, 6), (-6, 6))
    assert heights.shape == (len(y), len(x))
    for level, share in zip(levels, (0.9, 0.5), strict=True):
        radius = np.sqrt(-2 * np.log(1 - share))  # of a circle that holds that share of N(0, I)
        area = (heights > level).sum() * (x[1] - x[0]) * (y[1] - y[0])
        assert np.sqrt(area / np.pi) == pytest.approx(radius, rel=0.08)
    assert density(points[:5], (-4, 4), (-4, 4)) is None


def test_codes_are_those_of_the_model_and_labels_colour_them(table, images):
    labels = np.arange(90) % 3
    figure = pictures.latent(table, TABLE, labels)
    points = figure.axes[0].collections
    codes = table.transform(TABLE)
    np.testing.assert_allclose(points[1].get_offsets(), codes[labels == 1], rtol=1e-6)
    assert "95% of N(0, I)" in said(figure)
    assert figure.axes[0].get_xlabel() == "$z_{0}$"
    figure = pictures.latent(images, IMAGES, IMAGES[:, 3], dimensions=(2, 1))
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), images.transform(IMAGES)[:, [2, 1]])
    with pytest.raises(ValueError, match=r"labels have shape \(3,\); X has 90 rows"):
        pictures.latent(table, TABLE, labels[:3])
    with pytest.raises(ValueError, match="pass 2 of 0 to 1"):
        pictures.latent(table, TABLE, dimensions=(0, 2))


def test_kl_of_each_dimension_adds_up(table):
    bars = pictures.kl_per_dimension(table, TABLE).axes[0].patches
    mu, logvar = table.encode(TABLE)
    kl = 0.5 * (np.exp(logvar) + mu**2 - 1 - logvar).sum(axis=1).mean()
    assert sum(bar.get_height() for bar in bars) == pytest.approx(kl, rel=1e-5)


def test_scores_have_the_conformal_threshold(table):
    held, odd = TABLE[:60], TABLE[60:] * 30
    figure = pictures.scores(table, held, train=TABLE[60:], odd=odd, alpha=0.05)
    limit = threshold(table.score_samples(held), 0.05)
    assert any(np.allclose(line.get_xdata(), limit) for line in figure.axes[0].lines)
    assert any("odd rows, 9" in text or "odd rows, 100%" in text for text in said(figure))
    texts_apart(figure)
    with pytest.raises(ValueError, match="alpha=2 must lie between 0 and 1"):
        pictures.scores(table, held, alpha=2)
    figure = pictures.scores(table, TABLE[:18])
    assert "no threshold at p = 0.01: too few held-out rows" in said(figure)


def test_conditions_have_a_row_each():
    labels = np.array(["a$", "_b"])[np.arange(80) % 2]
    model = VAE(2, (6,), epochs=2, early_stopping=False, random_state=0).fit(IMAGES, condition=labels)
    figure = pictures.samples(model, 3, image_shape=SHAPE)
    grid, _ = drawn_images(figure, SHAPE)
    np.testing.assert_allclose(grid[1].reshape(3, 20), model.sample(3, condition="a$", random_state=0), atol=1e-6)
    assert [text.strip() for text in said(figure) if text.strip() in ("a\\$", "_b")] == ["_b", "a\\$"]
    for picture in (pictures.marginals, pictures.correlations, pictures.pairs, pictures.reconstructions):
        picture(model, IMAGES, condition=labels)
    pictures.latent(model, IMAGES, labels, condition=labels)
    pictures.latent_grid(model, image_shape=SHAPE, condition="_b")
    grid, _ = drawn_images(pictures.samples(model, 3, X=IMAGES, condition=labels, image_shape=SHAPE), SHAPE)
    assert grid.shape[:2] == (2, 5)  # two of the data, and three samples, of each label
    assert all((IMAGES[labels == "_b"] == row.ravel().astype(np.float32)).all(axis=1).any() for row in grid[0, :2])
    np.testing.assert_allclose(grid[1, 2:].reshape(3, 20), model.sample(3, condition="a$", random_state=0), atol=1e-6)
    with pytest.raises(ValueError, match="fitted without one"):
        pictures.samples(VAE(2, (4,), epochs=1, random_state=0).fit(IMAGES), condition=1)


def test_curves_of_many_columns_stand_beside_data():
    model = VAE(2, (6,), epochs=2, early_stopping=False, random_state=0).fit(np.tile(IMAGES, 2))
    figure = pictures.samples(model, X=np.tile(IMAGES, 2), n=50)
    assert [axes.get_title() for axes in figure.axes] == ["80 rows of the data", "50 draws from p(x|z)"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), np.median(np.tile(IMAGES, 2), axis=0), atol=1e-6)
    texts_apart(figure)


REFUSED = [
    (GAN, pictures.latent, "a GAN has no encoder"),
    (GAN, pictures.reconstructions, "a GAN has no encoder"),
    (GAN, pictures.kl_per_dimension, "use a VAE or a TableVAE"),
    (GAN, pictures.scores, "a GAN has no density"),
    (MADE, pictures.traversals, "a MADE has no latent code"),
    (Autoencoder, pictures.marginals, "Autoencoder cannot sample"),
    (Autoencoder, lambda model, X: pictures.latent_grid(model), r"use traversals\(model, X\)"),
]


@pytest.mark.parametrize(("kind", "picture", "message"), REFUSED)
def test_what_a_model_cannot_have_is_refused_with_what_to_use(kind, picture, message):
    with pytest.raises(TypeError, match=message) as found:
        picture(kind(epochs=1, random_state=0).fit((IMAGES > 0.3).astype(np.float32)), IMAGES)
    assert "\n" not in str(found.value)


def test_what_is_no_model_and_shapes_that_do_not_fit_are_refused(images, mixed):
    with pytest.raises(TypeError, match="draws a fitted estimator of fastvae, not a str"):
        pictures.samples("model.npz")
    with pytest.raises(Exception, match="this VAE is not fitted"):
        pictures.learning_curves(VAE())
    with pytest.raises(ValueError, match=r"image_shape=\(4, 4\): expected .* of 20 columns"):
        pictures.samples(images, image_shape=(4, 4))
    with pytest.raises(ValueError, match="columns names 'nope', which the model has not"):
        pictures.marginals(mixed[0], columns=["nope"])


def test_a_path_is_written_to_and_a_notebook_shows_the_figure(images, tmp_path):
    figure = pictures.kl_per_dimension(images, IMAGES, path=tmp_path / "kl.png")
    assert (tmp_path / "kl.png").read_bytes() == figure._repr_png_()


def test_importing_needs_no_matplotlib_and_drawing_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None\nimport numpy as np\nfrom fastvae import VAE, pictures\n"
        "try: pictures.learning_curves(VAE())\nexcept ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "figures need matplotlib: pip install matplotlib\n"
