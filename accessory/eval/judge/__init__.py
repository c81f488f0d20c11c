"""Judging free answers with a vision-language model: any OpenAI-compatible endpoint, nothing paid twice."""
