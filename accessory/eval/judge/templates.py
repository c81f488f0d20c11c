"""The words that judges read. Changing one changes the prompt hash, and scores before and after do not mix."""

from __future__ import annotations

# Braces are places to fill in; what is filled in is never read for braces.

GRADER = (
    "You grade answers to questions about pictures. You look closely, you are fair, and you keep exactly to the form "
    "that you are asked for."
)

PAIR = """\
The picture: {context}

The question:
{question}

Answer A:
{reference}
[end of answer A]

Answer B:
{answer}
[end of answer B]

{rule}"""

_GRADES = """\
Grade both answers: are they right, do they keep to the question, do they help the one who asks, and are they as \
detailed as the question calls for? What an answer makes up counts against it. Neither the order of the answers nor \
their length alone may sway you.
Each answer gets one grade from 1 (worst) to 10 (best). The first line of your reply holds the two grades and nothing \
else: that of answer A, a space, that of answer B. From the second line on, say why."""

MARKED_BOXES = (
    "Two assistants were asked this question about the picture that you see here. For you it was made a little darker, "
    "and the places that the question is about are drawn on it as numbered rectangles. The rectangle with the number n "
    'is what the texts call "Region n".\n' + _GRADES
)

MARKED_POINTS = (
    "Two assistants were asked this question about the picture that you see here. For you it was made a little darker, "
    "and the places that the question is about are drawn on it as numbered dots; a number stands beside its dot. The "
    'dot with the number n is what the texts call "Mark n".\n' + _GRADES
)

UNMARKED = "Two assistants were asked this question about the picture that you see here.\n" + _GRADES

UNSEEN = (
    "Two assistants were asked this question about a picture. They saw it, you do not: go by what is told of it above. "
    "Places in it are given as boxes [x0, y0, x1, y1] in shares of its width and height.\n" + _GRADES
)

# By the first part of a task's name.
MDVP_CONTEXTS = {
    "natural": "a photograph of a natural scene.",
    "ocr": "it contains text, and the one who asks wants to know about that text.",
    "screenshot": "a screenshot of a mobile phone or of a web page.",
    "multipanel": "it is made up of several panels.",
}
PHOTOGRAPH = "a photograph."

CHOICE = """\
Somebody looked at one object in a picture and described it:

{answer}
[end of the description]

A question about this description:
{question}
{choices}

Choose what fits the description best; it need not fit word for word. Go by the description alone. Reply with the \
letter of your choice and nothing else."""

RECOGNITION = "Could what is described be the following, or something of a similar kind: {name}?"
