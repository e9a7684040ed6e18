"""Settings: what is unknown or dangerous is refused by name, and no value is ever shown."""

import pytest

from services.kit.settings import Settings, SettingsError, is_public_origin


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({"PATH": "/bin"}) == Settings()


def test_an_unknown_setting_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError, match="CAUCE_PUBLC_PORT"):
        Settings.from_environment({"CAUCE_PUBLC_PORT": "8080"})


def test_a_malformed_value_is_refused_without_being_repeated() -> None:
    with pytest.raises(SettingsError, match="CAUCE_PUBLIC_PORT") as caught:
        Settings.from_environment({"CAUCE_PUBLIC_PORT": "s3cret"})
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_written_environment_gives_the_same_settings_back() -> None:
    first = Settings.from_environment({"CAUCE_PUBLIC_PORT": "9000", "CAUCE_CELL": "cell-x"})
    again = Settings.from_environment(first.to_environment())
    assert again.secrets_dir.is_absolute()
    assert again.model_copy(update={"secrets_dir": first.secrets_dir}) == first.model_copy(
        update={"vault_keys_dir": again.vault_keys_dir}
    )


def test_variables_of_the_command_line_are_not_settings() -> None:
    assert Settings.from_environment({"CAUCE_RUN": "/x", "CAUCE_CACHE": "/y"}) == Settings()


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://10.1.2.3", False),
        ("http://localhost:8080", False),
        ("http://hub:8080", False),
        ("http://hub.internal", False),
        ("https://hub.agencia.example", True),
        ("https://8.8.8.8", True),
        ("https://[2606:4700::1]/x", True),
    ],
)
def test_a_public_origin_is_told_from_a_private_one(url: str, public: bool) -> None:
    assert is_public_origin(url) is public


def test_private_networks_are_refused_with_a_public_origin() -> None:
    environment = {
        "CAUCE_PUBLIC_URL": "https://hub.agencia.example",
        "CAUCE_EGRESS_PRIVATE_NETWORKS": "10.0.0.0/8",
    }
    with pytest.raises(SettingsError, match="CAUCE_EGRESS_PRIVATE_NETWORKS"):
        Settings.from_environment(environment)
    private = Settings.from_environment({**environment, "CAUCE_PUBLIC_URL": "http://hub:8080"})
    assert private.egress_private_networks == "10.0.0.0/8"
