"""Words that any description may draw on: towns, people, trades, rooms, times. Long lists keep texts apart."""

TOWNS = (
    "Marlow", "Ostrava", "Lindau", "Skagen", "Bruges", "Tromso", "Lucca", "Girona", "Kells", "Visby", "Delft", "Graz", "Turku", "Zadar", "Evora", "Bergamo", "Toledo", "Namur", "Kotor", "Ghent",
    "Piran", "Aarau", "Mons", "Sligo", "Olomouc", "Vaasa", "Trento", "Colmar", "Ribe", "Dornbirn", "Leiden", "Sopron", "Celje", "Narvik", "Braga", "Cobh", "Kuopio", "Pau", "Ulm", "Faenza",
)  # fmt: skip
PEOPLE = (
    "Ida Falk", "Jonas Reuter", "Mirela Costa", "Old Tomas", "Petra Lind", "Ciaran Doyle", "Yusuf Arslan", "Noor de Wit", "Agnes Bauer", "Emil Sand", "Lotte Maas", "Vito Ferrari", "Hanna Kivi", "Oskar Blum",
    "Salome Roy", "Bram Visser", "Dunja Petric", "Aldo Conti", "Greta Holm", "Kees Bakker", "Rosa Marin", "Ivo Horvat", "Nils Aaberg", "Tilda Roos", "Marek Zeman", "Fionn Burke", "Zeynep Kaya", "Luis Prado",
    "Brigitte Noll", "Anton Weiss", "Saskia Laan", "Peadar Walsh",
)  # fmt: skip
TRADES = (
    "bookbinder", "beekeeper", "ferryman", "piano tuner", "midwife", "surveyor", "glazier", "baker", "cartographer", "stage carpenter", "lighthouse keeper", "vet", "tram driver", "botanist", "locksmith",
    "harbour pilot", "retired judge", "cheesemonger", "postman", "organist", "nurse on nights", "weaver", "plumber", "school cook", "geologist", "florist", "mountain guide", "translator", "watchmaker", "archivist",
    "fishmonger", "chimney sweep", "dentist", "puppeteer", "gardener", "bus mechanic", "sculptor", "pharmacist", "court reporter", "rower",
)  # fmt: skip
ROOMS = (
    "pantry", "attic", "allotment shed", "hallway", "student room", "cellar", "caravan", "studio", "kitchenette", "conservatory", "boat cabin", "waiting room", "dormitory", "staff room", "garage", "loft",
    "reading room", "laundry", "church hall", "gatehouse", "tea kitchen", "workshop", "corridor", "spare room", "summer house", "cubicle", "lean-to", "clubhouse",
)  # fmt: skip
SEASONS = (
    "a wet April", "the dog days", "three Novembers", "last winter", "a leap year", "the long holidays", "harvest time", "carnival week", "two moves", "a thesis", "one strike", "the first frost", "a power cut",
    "exam season", "a house full of cousins", "Lent", "the flu", "a heat wave", "tax month", "the trade fair",
)  # fmt: skip
VERDICTS = (
    "plain", "sound", "decent", "unshowy", "clever", "well made", "forgiving", "tidy", "handsome", "sober", "thoughtful", "old-fashioned", "grown-up", "cheerful", "no-nonsense", "sensible", "matter-of-fact",
    "trusty", "civil", "workmanlike", "unfussy", "likeable", "dependable", "down-to-earth", "agreeable", "modest", "upright", "neat",
)  # fmt: skip
THINGS = (
    "a church key", "an old Volvo", "good bread", "a bicycle bell", "a well-tempered door", "a wooden spoon", "a raincoat", "a timetable", "a fountain pen", "a rowing boat", "a Sunday", "a goose", "a pocket knife",
    "a library", "the neighbour's terrier", "a stone wall", "a ferry", "a milking stool", "a grandfather clock", "a tuning fork", "a flagpole", "a cardigan", "a tin opener", "a tram", "a plumb line",
)  # fmt: skip
COUNTS = ("two", "three", "four", "five", "six", "seven", "nine", "eleven", "a dozen", "fourteen", "twenty", "thirty", "forty-one", "sixty")
