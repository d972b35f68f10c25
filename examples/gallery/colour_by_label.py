"""Colour pictures by label

`r3gan.emoji` draws 32x32 emoji given two labels: what is shown (`group`) and the set that drew it
(`style`). Conditions are given by name. Within a column all random numbers are equal: only the
labels differ. The model has 258,029 parameters: shapes and colours follow the labels, details do
not.
"""

from _pictures import show_rows

import zoo_core as zoo

model = zoo.load("r3gan.emoji")
print(model.condition)

# %%
groups = ("smileys", "animals", "food", "travel", "flags")
rows = {
    f"group={group}, style=noto": model.sample(10, seed=2, cond={"group": group, "style": "noto"})
    for group in groups
}
show_rows(rows, model.event, "Emoji of five groups drawn from the same random numbers")
