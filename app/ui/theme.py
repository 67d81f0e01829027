"""How the page looks: Gradio's theme, every colour of which is a token of page.css, in light and dark alike."""

from typing import Any

from gradio.themes import Default, Size

_FONT = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"]
_PLACES = {
    "back": (
        "body_background_fill", "background_fill_primary", "checkbox_label_background_fill", "panel_background_fill",
        "table_odd_background_fill", "code_background_fill",
    ),
    "surface": (
        "block_background_fill", "input_background_fill", "input_background_fill_hover", "input_background_fill_focus",
        "checkbox_background_color", "checkbox_background_color_hover", "checkbox_background_color_focus",
        "table_even_background_fill", "button_secondary_background_fill", "button_cancel_background_fill",
        "block_label_background_fill",
    ),
    "raised": (
        "background_fill_secondary", "button_secondary_background_fill_hover", "button_cancel_background_fill_hover",
        "checkbox_label_background_fill_hover", "table_row_focus", "stat_background_fill",
    ),
    "text": (
        "body_text_color", "block_title_text_color", "block_label_text_color", "accordion_text_color",
        "table_text_color", "checkbox_label_text_color", "checkbox_label_text_color_selected",
        "button_secondary_text_color", "button_secondary_text_color_hover", "button_cancel_text_color",
        "button_cancel_text_color_hover",
    ),
    "subdued": ("body_text_color_subdued", "block_info_text_color", "input_placeholder_color"),
    "border": (
        "border_color_primary", "block_border_color", "panel_border_color", "block_label_border_color",
        "block_title_border_color", "checkbox_label_border_color", "checkbox_label_border_color_hover",
        "table_border_color", "button_secondary_border_color", "button_cancel_border_color",
    ),
    "control": (
        "input_border_color", "input_border_color_hover", "checkbox_border_color", "checkbox_border_color_hover",
        "button_secondary_border_color_hover", "button_cancel_border_color_hover",
    ),
    "accent": (
        "color_accent", "link_text_color", "link_text_color_active", "link_text_color_hover",
        "link_text_color_visited", "border_color_accent", "border_color_accent_subdued", "input_border_color_focus",
        "checkbox_border_color_focus", "checkbox_border_color_selected", "checkbox_label_border_color_selected",
        "loader_color", "slider_color", "checkbox_background_color_selected",
    ),
    "soft": ("color_accent_soft", "checkbox_label_background_fill_selected"),
    "press": ("button_primary_background_fill", "button_primary_border_color", "button_primary_border_color_hover"),
    "press-hover": ("button_primary_background_fill_hover",),
    "on-press": ("button_primary_text_color", "button_primary_text_color_hover"),
    "bad": ("error_text_color", "error_border_color", "error_icon_color"),
    "bad-soft": ("error_background_fill",),
}  # fmt: skip
_SHAPES = {
    "block_title_background_fill": "none", "block_title_padding": "0", "block_title_text_weight": "600",
    "block_label_text_weight": "600", "block_shadow": "none", "input_shadow": "none", "input_shadow_focus": "none",
    "checkbox_label_shadow": "none", "button_primary_shadow": "none", "button_secondary_shadow": "none",
    "button_cancel_shadow": "none", "button_primary_shadow_hover": "none", "button_secondary_shadow_hover": "none",
    "button_cancel_shadow_hover": "none", "input_border_width": "1px", "button_border_width": "1px",
}  # fmt: skip
_TWICE = ("weight", "padding")  # what these end in is the same in the dark, and has no second value


def theme() -> Any:
    """Gradio's theme."""
    spacing = Size(xxs="2px", xs="4px", sm="6px", md="8px", lg="12px", xl="16px", xxl="24px", name="rs")
    made: Any = Default(
        primary_hue="teal",
        neutral_hue="slate",
        spacing_size=spacing,
        font=_FONT,
        font_mono=["ui-monospace", "monospace"],
    )
    for token, names in _PLACES.items():
        for name in names:
            setattr(made, name, f"var(--rs-{token})")
            setattr(made, f"{name}_dark", f"var(--rs-{token})")  # what it stands for differs in the dark
    for name, value in _SHAPES.items():
        setattr(made, name, value)
        if not name.endswith(_TWICE):
            setattr(made, f"{name}_dark", value)
    return made
