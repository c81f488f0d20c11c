"""Parts of the pages that people look at: pictures with numbered marks, badges and tags in HTML, cards as pixels."""
