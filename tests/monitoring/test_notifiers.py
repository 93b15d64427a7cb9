"""Webhook and e-mail, against receivers on loopback: what arrives, what is refused, and that no error contains a secret."""

import pytest

from ser_tasks.monitoring.notifiers import Message, SendError, mail, mail_page, post
from ser_tasks.settings import Settings
from tests.support.receivers import MailReceiver, WebhookReceiver, free_port

MESSAGE = Message("[error] ser alerts: 2 firing", "Lake x\n\nFiring\n  error  disk: häßlich\n", {"began": [{"rule": "disk"}]})
USER, PASSWORD = "night", "secret-password-93"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def smtp(port: int, **options) -> Settings:
    return Settings(smtp_host="127.0.0.1", smtp_port=port, mail_from="Night <ser@example.org>", **options)


def test_a_webhook_takes_the_message_as_json():
    with WebhookReceiver() as receiver:
        post(MESSAGE, Settings(alert_webhook_url=receiver.url))
    [taken] = receiver.taken
    assert taken == {
        "id": MESSAGE.id,
        "title": MESSAGE.title,
        "text": MESSAGE.text,
        "began": [{"rule": "disk"}],
        "path": "/secret-path",
        "type": "application/json",
    }


@pytest.mark.parametrize("status", [302, 307, 403, 500])
def test_the_error_of_a_webhook_that_refuses_omits_its_address(status):
    with WebhookReceiver() as receiver:
        receiver.answers = [status]
        with pytest.raises(SendError, match=f"^the webhook at http://127.0.0.1 answered {status}$"):
            post(MESSAGE, Settings(alert_webhook_url=receiver.url))
        assert receiver.asked == 1  # a redirect is not followed


def test_the_error_of_an_unreachable_or_invalid_webhook_omits_its_address(tmp_path):
    with free_port() as port, pytest.raises(SendError, match="can't be reached") as caught:
        post(MESSAGE, Settings(alert_webhook_url=f"http://127.0.0.1:{port}/secret-path"))
    assert "secret" not in str(caught.value) and caught.value.__suppress_context__
    (tmp_path / "secret").write_text("x")
    for url in ("hooks/secret", f"file://{tmp_path}/secret", "http://u:secret@h/x", "http://127.0.0.1/a secret", "https:///secret"):
        with pytest.raises(SendError) as caught:
            post(MESSAGE, Settings(alert_webhook_url=url))
        assert "secret" not in str(caught.value)
    with pytest.raises(SendError, match="SER_ALERT_WEBHOOK_URL is not set"):
        post(MESSAGE, Settings())


def test_mail_arrives_over_starttls_with_a_login(tmp_path, monkeypatch):
    with MailReceiver(tmp_path, USER, PASSWORD) as server:
        settings = smtp(server.port, smtp_user=USER, smtp_password=PASSWORD)
        with pytest.raises(SendError, match="certificate that is not trusted"):  # until it is trusted, no password is sent
            mail(MESSAGE, "ops@example.org", settings)
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
        mail(MESSAGE, "ops@example.org", settings)
        [(to, letter)] = server.letters
        assert (to, letter["To"], letter["From"]) == ("ops@example.org", "ops@example.org", "Night <ser@example.org>")
        assert letter["Subject"] == MESSAGE.title and letter["Auto-Submitted"] == "auto-generated"
        assert letter.get_content().replace("\r\n", "\n") == MESSAGE.text
        with pytest.raises(SendError, match=r"refused the login \(535\)") as caught:
            mail(MESSAGE, "ops@example.org", smtp(server.port, smtp_user=USER, smtp_password="secret-wrong"))
        assert "secret" not in str(caught.value)
        with pytest.raises(SendError, match="answered 530|refused the sender"):
            mail(MESSAGE, "ops@example.org", smtp(server.port))


def test_a_page_arrives_as_an_attachment(tmp_path):
    page = "<!doctype html><html><body><p>Woche 47, ä</p><svg></svg></body></html>"
    with MailReceiver(tmp_path) as server:
        mail_page(page, MESSAGE, "lead@example.org", smtp(server.port, smtp_security="none"), "week.html")
    [(_, letter)] = server.letters
    [attached] = letter.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("week.html", "text/html")
    assert attached.get_content().strip() == page
    assert letter.get_body().get_content().replace("\r\n", "\n") == MESSAGE.text


def test_a_password_is_never_sent_unencrypted(tmp_path):
    with MailReceiver(tmp_path) as server:
        with pytest.raises(SendError, match="password unencrypted"):
            mail(MESSAGE, "ops@example.org", smtp(server.port, smtp_security="none", smtp_user=USER, smtp_password=PASSWORD))
        with pytest.raises(SendError, match="offers no STARTTLS"):  # a server, or an attacker in between, that omits it
            mail(MESSAGE, "ops@example.org", smtp(server.port, smtp_user=USER, smtp_password=PASSWORD))
        assert server.letters == []


def test_a_mail_server_that_refuses_or_is_unreachable_is_named(tmp_path):
    with MailReceiver(tmp_path) as server:
        settings = smtp(server.port, smtp_security="none")
        server.refused = {"gone@example.org"}
        with pytest.raises(SendError, match=r"refused gone@example.org \(550\)"):
            mail(MESSAGE, "gone@example.org", settings)
        server.down = True
        with pytest.raises(SendError, match="answered 451"):
            mail(MESSAGE, "ops@example.org", settings)
    with free_port() as port, pytest.raises(SendError, match="can't be reached"):
        mail(MESSAGE, "ops@example.org", smtp(port))


def test_what_is_not_set_is_named():
    with pytest.raises(SendError, match="SER_SMTP_HOST"):
        mail(MESSAGE, "ops@example.org", Settings(mail_from="ser@example.org"))
    with pytest.raises(SendError, match="SER_MAIL_FROM"):
        mail(MESSAGE, "ops@example.org", Settings(smtp_host="127.0.0.1"))


def test_header_injection_is_refused():
    for to, title in (("ops@example.org\nBcc: all@example.org", "t"), ("ops@example.org", "t\nBcc: all@example.org")):
        with pytest.raises(SendError):
            mail(Message(title, "x"), to, Settings(smtp_host="127.0.0.1", smtp_port=1, mail_from="ser@example.org"))
