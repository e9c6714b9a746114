"""Pictures of it, 96 x 128 or any other size, from somewhere in front and above."""

from __future__ import annotations

import numpy as np

from toy_robot.world import ARM, PULL, World

PAINT = {
    "": (150, 110, 70),
    "blue": (60, 90, 200),
    "green": (60, 160, 80),
    "yellow": (220, 190, 60),
}
TABLE, DARK, METAL = (205, 200, 195), (70, 60, 55), (40, 40, 45)


def draw(world: World, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = TABLE
    pixel = height / 96  # what is drawn is measured in pixels of the smallest picture

    def blot(x: float, y: float, z: float, wide: float, high: float, colour: object) -> None:
        column = width / 2 + (250 - 200 * y) * x * pixel
        row = height * 0.6 - (150 * y + 190 * z) * pixel
        top, left = round(row - high * pixel), round(column - wide * pixel)
        bottom, right = round(row + high * pixel) + 1, round(column + wide * pixel) + 1
        image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = colour

    for fixture in world.fixtures:
        paint, (x, y) = PAINT[fixture.colour], fixture.handle()
        if fixture.kind == "drawer":
            blot(fixture.x, fixture.y + PULL / 2, 0, 11, 9, DARK)
            blot(fixture.x, y - 0.02, 0.01, 11, 3, paint)
            blot(x, y, 0.01, 4, 1, METAL)
            continue
        blot(fixture.x, fixture.y, 0, 3, 3, DARK)
        for part in np.linspace(0, 1, 12):
            at = np.array([fixture.x, fixture.y]) * (1 - part) + np.array([x, y]) * part
            blot(*at, 0.01, 1.5, 1.5, paint)
        blot(x, y, 0.01, 2.5, 2.5, METAL)
    tool = world.pose
    blot(tool[0], tool[1], 0, 2, 1, DARK)  # its shadow says how high it is
    for side in (-1, 1):
        blot(tool[0] + side * (0.006 + 0.015 * tool[3]), tool[1], tool[2] + 0.02, 1, 4, METAL)
    blot(tool[0], tool[1], tool[2] + 0.045, 7, 1, METAL)
    return image


assert ARM < 0.1  # else a lever would leave the picture
