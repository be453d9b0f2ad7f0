"""Who keeps the laws of `test_laws.py`: a table of each field, and all of them as one."""

from tests.models.members import decoders, encoders, generative, images, language, recommenders, series, speech, tables

FIELDS = (decoders, encoders, generative, images, language, recommenders, series, speech, tables)
MEMBERS = {name: member for field in FIELDS for name, member in field.MEMBERS.items()}
FAMILIES = {name: family for field in FIELDS for name, family in field.FAMILIES.items()}
SLOW = decoders.SLOW | encoders.SLOW | generative.SLOW | images.SLOW | language.SLOW | speech.SLOW
"""One of a kind keeps the laws every day; these with all."""
CAUSAL = (*decoders.MEMBERS, "gpt", "llama")
"""Each of their logits depends on the tokens up to its own alone."""
SLOW_SIZES = {
    family for field in (decoders, encoders, generative, images, language, speech) for family in field.SLOW_SIZES
}
"""Families whose sizes take seconds to trace all together: they are looked at with these."""
