"""The tables of the paper (arXiv 2507.20766), to stand beside what is measured here.

Guarantees: figures as printed there; `*` marks what the benchmark itself reported. Design2Code is not in the paper: its
columns are those of its own (arXiv 2403.03163), without rows to compare with.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """`columns`: name in our summary and heading; `convention`: the line of the summary that is published."""

    title: str
    columns: tuple[tuple[str, str], ...]
    paper: tuple[tuple[str, tuple[float, ...]], ...]
    convention: str = "all"


LOW = (("exec", "Exec rate"), ("text", "Text"), ("layout", "Layout"), ("type", "Type"), ("color", "Color"))
TABLES = {
    "chartmimic": Table(
        "ChartMimic, direct mimic (Table 1)",
        (*LOW, ("judge", "GPT-4o score"), ("overall", "Overall")),
        (
            ("Gemini-1.0-Pro-Vision*", (68.2, 52.6, 64.2, 51.3, 47.1, 53.3, 53.6)),
            ("GPT-4o-2024-11-20", (90.00, 66.55, 79.31, 71.83, 60.84, 82.50, 76.06)),
            ("OpenAI o3", (90.17, 74.17, 80.58, 71.37, 63.74, 86.45, 79.46)),
            ("Claude-4-Sonnet", (91.83, 68.87, 82.43, 67.13, 57.59, 85.46, 77.23)),
            ("Gemini-2.5-Pro", (93.33, 84.95, 83.37, 75.05, 66.90, 90.58, 84.07)),
            ("Qwen2.5-VL-72B-Instruct", (83.83, 34.44, 61.71, 45.49, 35.12, 50.41, 47.30)),
            ("DeepSeek-VL-7B*", (41.3, 15.3, 26.6, 19.7, 14.5, 20.4, 19.7)),
            ("LLaVA-OneVision-7B", (17.28, 7.97, 13.55, 9.15, 7.36, 10.01, 9.76)),
            ("Qwen2.5-VL-7B-Instruct", (68.83, 30.01, 55.79, 36.50, 26.91, 39.04, 38.17)),
            ("InternVL3-8B", (71.67, 45.03, 57.89, 45.87, 38.88, 54.91, 50.91)),
            ("SFT, with labels", (69.00, 56.97, 63.60, 60.53, 51.89, 62.09, 60.17)),
            ("RRVF", (97.83, 62.47, 80.97, 53.56, 46.41, 67.87, 64.36)),
        ),
        "code_pass",
    ),
    "plot2code": Table(
        "Plot2Code (Table 2)",
        (
            ("pass_rate", "Exec rate"), ("text_match", "Text"), ("rating", "GPT-4o score"),
            ("text_match_pass", "Text_pass"), ("rating_pass", "GPT-4o score_pass"),
        ),
        (
            ("GPT-4V*", (84.1, 48.53, 5.45, 57.7, 6.48)),
            ("GPT-4o-2024-11-20", (90.15, 48.91, 6.09, 54.25, 6.76)),
            ("OpenAI o3", (87.12, 57.65, 6.70, 66.17, 7.69)),
            ("Claude-4-Sonnet", (92.42, 56.86, 6.16, 61.52, 6.76)),
            ("Gemini-2.5-Pro", (87.88, 71.70, 7.65, 81.59, 8.71)),
            ("Qwen2.5-VL-72B-Instruct", (83.33, 56.74, 5.79, 68.09, 6.95)),
            ("LLaVA-OneVision-7B", (84.09, 26.72, 2.75, 31.78, 3.27)),
            ("Qwen2.5-VL-7B-Instruct", (70.46, 35.80, 3.40, 50.81, 4.82)),
            ("InternVL3-8B", (76.52, 30.67, 3.25, 40.08, 4.25)),
            ("SFT, trained on ChartMimic", (49.24, 21.63, 2.47, 43.93, 5.02)),
            ("RRVF", (96.21, 39.89, 4.44, 41.46, 4.61)),
        ),
    ),
    "websight": Table(
        "WebSight, 500 pages (Table 3)",
        (("clip", "CLIP score (whole page)"), ("judge", "GPT score")),
        (
            ("GPT-4o-2024-11-20", (88.94, 94.55)),
            ("OpenAI o3", (91.58, 96.49)),
            ("Claude-4-Sonnet", (92.30, 96.46)),
            ("Gemini-2.5-Pro", (77.83, 75.88)),
            ("LLaVA-OneVision-7B", (79.74, 72.61)),
            ("Qwen2.5-VL-7B-Instruct", (83.50, 84.17)),
            ("InternVL3-8B", (84.17, 85.54)),
            ("RRVF", (88.29, 91.50)),
        ),
    ),
    "design2code": Table(
        "Design2Code",
        (
            ("block", "Block"), ("text", "Text"), ("position", "Position"), ("color", "Color"),
            ("clip", "CLIP (without text)"), ("final", "Final"),
        ),
        (),
    ),
}  # fmt: skip
