import app.ui


def test_gradio_writes_no_stubs_beside_its_modules() -> None:
    from gradio import component_meta

    assert component_meta.create_or_modify_pyi.__module__ == app.ui.__name__
