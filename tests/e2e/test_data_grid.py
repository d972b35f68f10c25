"""`zoo data info NAME --grid FILE`: a picture of a data set."""

from PIL import Image


def test_data_info_draws_a_grid_of_any_images(zoo, tmp_path):
    for name, side in (("emoji", 8 * (2 * 32 + 2) + 2), ("digits", 8 * (8 * 8 + 2) + 2)):
        path = tmp_path / f"{name}.png"
        assert zoo("data", "info", name, "--grid", path).code == 0
        with Image.open(path) as picture:
            assert picture.size == (side, side)
            assert picture.info["data"] == name and picture.info["split"] == "train"


def test_a_grid_is_refused_where_it_is_no_picture(zoo, tmp_path):
    result = zoo("data", "info", "emoji", "--grid", tmp_path / "grid.gif")
    assert result.code != 0 and "a grid is a .png picture" in result.err
