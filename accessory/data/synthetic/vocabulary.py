"""The words of the data set: colours, shapes, the lexicon of signs, and the names of places and directions."""

from __future__ import annotations

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (218, 36, 40),
    "green": (38, 160, 62),
    "blue": (36, 88, 220),
    "yellow": (252, 218, 36),
    "purple": (150, 52, 182),
    "orange": (246, 132, 28),
    "white": (250, 250, 250),
    "black": (28, 28, 32),
}

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")

WORDS: tuple[str, ...] = (
    *("ART", "ATM", "BACK", "BAKE", "BANK", "BAR", "BIKE", "BOAT", "BOOK", "BUS"),
    *("CAFE", "CALL", "CAR", "CHAT", "CITY", "CLUB", "COPY", "DELI", "DONE", "DOOR"),
    *("EDIT", "EXIT", "FISH", "FOOD", "FREE", "GAS", "GIFT", "GO", "GOLF", "GYM"),
    *("HELP", "HOME", "HOT", "ICE", "INN", "JAZZ", "KEY", "MAIL", "MAP", "MENU"),
    *("NEWS", "NEXT", "NO", "OPEN", "PARK", "PAY", "PLAY", "POST", "PUB", "SALE"),
    *("SAVE", "SHOP", "SLOW", "SPA", "STOP", "TAXI", "TEA", "UP", "VAN", "WIFI", "YES", "ZOO"),
)

# A place is a third of the picture down and a third across, of the element's centre.
PLACES: tuple[tuple[str, str, str], ...] = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the center", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)

DIRECTIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
