"""Texts to try a model on as soon as it is loaded: what is damaged may load, and break when it is used."""

# Words that a vocabulary may have, and characters that it has not; of unlike lengths, so that one is padded.
PROBES = ("a ferry, kivuko, 𐤀 zzqxw", "a")
