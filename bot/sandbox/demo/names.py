"""What the people of the demo's community are called, and what brings them together."""

from typing import Final

# First names and surnames go together at random, so that a few hundred people stay recognisable.
FIRST: Final = (
    "Adèle", "Aisha", "Alba", "Ambre", "Anselm", "Antoine", "Basile", "Beatriz", "Bilal", "Bruno", "Carla", "Celia",
    "Chloé", "Clement", "Dalia", "Damien", "Elena", "Elias", "Eloïse", "Emeka", "Esther", "Fanny", "Farid", "Fiona",
    "Gaspard", "Giulia", "Greta", "Hana", "Hector", "Hugo", "Ines", "Ismael", "Jade", "Jonas", "Judith", "Kenza",
    "Lamine", "Laure", "Leila", "Louis", "Lucia", "Maëlle", "Malik", "Manon", "Marek", "Mathilde", "Mei", "Mina",
    "Nadia", "Nils", "Noor", "Olga", "Oscar", "Paula", "Pierre", "Quentin", "Rachel", "Rafael", "Rosa", "Sami",
    "Sofia", "Soren", "Tamar", "Theo", "Ursula", "Valentin", "Victor", "Wanda", "Yasmine", "Yves", "Zoe", "Zora",
)  # fmt: skip
LAST: Final = (
    "Abadie", "Achterberg", "Amrani", "Aubert", "Baptiste", "Barros", "Becker", "Bellamy", "Benali", "Bergman",
    "Blanchet", "Bonnard", "Caron", "Castillo", "Chevalier", "Cisse", "Costa", "Dahl", "Delmas", "Diallo", "Dubois",
    "Eklund", "Fabre", "Farrow", "Fontaine", "Garnier", "Gauthier", "Haddad", "Hartmann", "Hoffmann", "Ibarra",
    "Jansen", "Keller", "Kowalski", "Lacroix", "Lambert", "Laurent", "Lefort", "Lemaire", "Lindqvist", "Marchetti",
    "Marin", "Mercier", "Moreau", "Nakamura", "Navarro", "Nguyen", "Novak", "Okafor", "Oliveira", "Palmer", "Perrin",
    "Petit", "Quinn", "Renaud", "Ricci", "Riviere", "Rossi", "Roussel", "Saidi", "Sanders", "Schmitt", "Serrano",
    "Silva", "Sorel", "Tanaka", "Tessier", "Traore", "Valette", "Vasseur", "Weber", "Winter", "Yilmaz", "Zeller",
)  # fmt: skip
# Circles of people who mostly follow each other: a neighbourhood of the old X.
CIRCLES: Final = (
    "astronomers", "bakers", "cartographers", "comics", "cyclists", "data folk", "gardeners", "historians",
    "jazz", "journalists", "librarians", "linguists", "mathematicians", "nurses", "poets", "teachers",
)  # fmt: skip
