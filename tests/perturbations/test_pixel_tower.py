"""Image towers as functions of pixels: on the device of the tower."""

from attacked_images import tiny_tower

from kivuko.perturbations.image import PixelTower


def test_mean_and_spread_are_on_the_device_of_the_tower():
    tower = PixelTower(tiny_tower().to("meta"))
    assert tower.device.type == tower.mean.device.type == tower.spread.device.type == "meta"
