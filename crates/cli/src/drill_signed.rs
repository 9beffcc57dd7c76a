//! Signed reports of drills: reading one from JSON or from a page, and `tidegate drill verify`.

use crate::{
    admin::{HubDoor, Token},
    drill_hub,
    drill_report::Form,
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::value::RawValue;
use std::{fs, net::SocketAddr, path::PathBuf};
use tidegate_drill::report::{Report, Seal, sealed_html, signed_in};
use tidegate_link::hub::{PolicyKey, ReportSignature, SignedReport, canonical, keys_of_pem};

/// A page holds a report of at most 4 MiB, and pictures.
const MAX_FILE: u64 = 32 << 20;

#[derive(Debug, Parser)]
pub(crate) struct VerifyArgs {
    /// The report, as `tidegate drill report -o json` or `-o html` writes it
    file: PathBuf,
    /// A PEM file with the hub's public key, as `tidegate drill key` prints it
    #[arg(long, value_name = "FILE", required_unless_present = "hub", conflicts_with = "hub")]
    key: Option<PathBuf>,
    /// The admin address of the hub that is asked for its key
    #[arg(long, value_name = "ADDR")]
    hub: Option<SocketAddr>,
    #[command(flatten)]
    token: Token,
}

/// A report as it was signed, which nobody has checked yet.
#[derive(Debug)]
pub(crate) struct Signed {
    /// As [`canonical`] has it.
    report: String,
    signature: ReportSignature,
}

/// A report whose signature fits.
#[derive(Debug)]
pub(crate) struct Checked {
    canonical: String,
    pub(crate) report: Report,
    pub(crate) signature: ReportSignature,
}

impl Signed {
    pub(crate) fn read(text: &str) -> Result<Self> {
        let read: SignedReport<Box<RawValue>> = serde_json::from_str(text).map_err(|error| {
            let plain = serde_json::from_str::<serde_json::Value>(text).ok();
            match plain.filter(|it| it["kind"] == "DrillReport") {
                Some(_) => anyhow::anyhow!(
                    "the report is not signed\n  hint: tidegate drill report ID -o json gives the one that the hub signed"
                ),
                None => anyhow::anyhow!("this is not a signed report of a drill: {error}"),
            }
        })?;
        if read.kind != SignedReport::<()>::KIND || read.api_version != "tidegate.dev/v1alpha1" {
            bail!("this is a {} {}, not a signed report of a drill", read.api_version, read.kind);
        }
        Ok(Self { report: canonical(read.report.get()), signature: read.signature })
    }

    pub(crate) fn check(self, keys: &[PolicyKey]) -> Result<Checked> {
        self.signature.verify(&self.report, keys)?;
        let report = serde_json::from_str(&self.report)
            .context("the signature fits, but this version cannot read the report")?;
        Ok(Checked { canonical: self.report, report, signature: self.signature })
    }
}

impl Checked {
    /// The report in a form; JSON and HTML with the signature.
    pub(crate) fn text(&self, form: Form) -> Result<String> {
        match form {
            Form::Json => Ok(serde_json::to_string_pretty(&self.signed()?)? + "\n"),
            Form::Html => self.page(),
            other => other.text(&self.report),
        }
    }

    fn signed(&self) -> Result<SignedReport<Box<RawValue>>> {
        Ok(SignedReport::new(RawValue::from_string(self.canonical.clone())?, self.signature.clone()))
    }

    fn page(&self) -> Result<String> {
        let json = canonical(&serde_json::to_string(&self.signed()?)?);
        Ok(sealed_html(&self.report, Seal { said: &self.signature.to_string(), json: &json }))
    }
}

pub(crate) async fn verify(args: &VerifyArgs) -> Result<()> {
    let keys = match (&args.key, args.hub) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            keys_of_pem(&text).with_context(|| path.display().to_string())?
        }
        (None, Some(hub)) => drill_hub::keys(&HubDoor::at(hub, args.token.clone())).await?,
        (None, None) => bail!("whose signature is believed? give --key FILE or --hub ADDR"),
    };
    let checked = read_file(args, &keys).with_context(|| args.file.display().to_string())?;
    let report = &checked.report;
    say!("{}: drill {}, {}: {}", report.id, report.drill, report.verdict(), checked.signature);
    Ok(())
}

fn read_file(args: &VerifyArgs, keys: &[PolicyKey]) -> Result<Checked> {
    let size = fs::metadata(&args.file).context("cannot be read")?.len();
    if size > MAX_FILE {
        bail!("has {size} bytes, more than any report of a drill");
    }
    let text = fs::read_to_string(&args.file).context("cannot be read")?;
    if text.trim_start().starts_with('{') {
        return Signed::read(&text)?.check(keys);
    }
    let Some(json) = signed_in(&text) else {
        bail!("there is no signed report in it\n  hint: tidegate drill report ID -o html gives one");
    };
    let checked = Signed::read(json)?.check(keys)?;
    // What people read is around what was signed: it must say the same.
    if checked.page()?.trim_end() != text.trim_end() {
        bail!(
            "the report within the page is signed, but the page around it is not what this version makes of that: it was \
             changed, or made by another version\n  hint: tidegate drill report {} -o html makes it anew",
            checked.report.id
        );
    }
    Ok(checked)
}
