"""The closed vocabulary of the drawn scenes."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (244, 132, 20),
    "yellow": (242, 214, 40),
    "green": (44, 156, 60),
    "cyan": (60, 204, 214),
    "blue": (36, 76, 204),
    "purple": (122, 44, 158),
    "pink": (242, 130, 186),
}

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")

PLURALS = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}

# Forty common words of three to six letters.
WORDS = (
    *("apple", "bread", "chair", "cloud", "dance", "eagle", "field", "glass"),
    *("house", "island", "jacket", "king", "lemon", "mouse", "night", "ocean"),
    *("paper", "queen", "river", "stone", "table", "uncle", "voice", "water"),
    *("young", "zebra", "bird", "cake", "door", "fish", "gold", "hand"),
    *("lamp", "moon", "nest", "park", "rain", "ship", "tree", "wolf"),
)

COUNTS = (1, 2, 3, 4)
