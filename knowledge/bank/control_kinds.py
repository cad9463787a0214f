"""Names of the control banks, with what each does to the vectors; light, for help texts."""

DRAWN = {
    "random": "Gaussian directions, the bank's lengths",
    "gram": "Gaussian vectors with the bank's own cosines and lengths",
    "onehot": "one axis per class",
    "etf": "a simplex: all classes equally far apart",
    "geometry": "centroids, extents and volumes measured on labeled scans",
}
EXCHANGED = {
    "shuffled": "another organ's text",
    "swapped-aspects": "the text of another aspect of the same organ",
}
WORDED = {
    "class-name": "the name alone",
    "template": "the name in one sentence",
    "scrambled": "the words of each text in random order",
    "random-words": "as many words, drawn from all texts of the bank",
    "mirrored": "left and right exchanged in the text",
}
KINDS = {**DRAWN, **EXCHANGED, **WORDED}
