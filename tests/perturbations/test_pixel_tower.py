"""Image towers as functions of pixels: on the device of the tower."""

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.perturbations.image.pixel_tower import PixelTower


def test_mean_and_spread_are_on_the_device_of_the_tower():
    tower = PixelTower(SmallImageTower(8, size=16).eval().to_sentence_transformer().to("meta"))
    assert tower.device.type == tower.mean.device.type == tower.spread.device.type == "meta"
