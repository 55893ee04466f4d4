//! Packages for an agent as an image of its own on top of the agents' image.
//!
//! The build's context is a folder with one Dockerfile and nothing else; the names in it were judged by
//! grammar. npm never runs a package's own scripts. The tag is the set of packages, so that what was
//! built before is found again.

use crate::{connect, image, other, status};
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};
use nanoclaw_contract::ids;
use nanoclaw_driver::DriverError;
use nanoclaw_driver::provide::{Progress, Provided, Wanted};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

/// Certificate authorities of the machine, for networks that inspect TLS.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Builds the image, or finds it.
pub(crate) async fn provide(
    base: &str,
    wanted: &Wanted,
    progress: Progress<'_>,
) -> Result<Provided, DriverError> {
    wanted.check()?;
    if wanted.is_empty() {
        return Ok(Provided::default());
    }
    let name = format!("{}:{}", repository(wanted), wanted.key);
    if !image::exists(&name).await? {
        let base = wanted.image.as_deref().unwrap_or(base);
        let folder = wanted.folder.join(format!("image-{}", wanted.key));
        let io = |e: std::io::Error| DriverError::Other(format!("{}: {e}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(io)?;
        std::fs::write(folder.join("Dockerfile"), dockerfile(wanted)).map_err(io)?;
        let ca = Some(Path::new(SYSTEM_CA)).filter(|path| path.is_file());
        let built = image::build(&folder, &name, base, ca, progress).await;
        std::fs::remove_dir_all(&folder).map_err(io)?;
        built?;
    }
    Ok(Provided { image: Some(name), ..Provided::default() })
}

/// Removes the images of earlier sets.
pub(crate) async fn tidy(wanted: &Wanted, keep: &Provided) -> Result<(), DriverError> {
    let engine = connect().await?;
    let filters = HashMap::from([("reference", vec![repository(wanted)])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    for found in engine.list_images(Some(options)).await.map_err(other)? {
        for tag in found.repo_tags.iter().filter(|tag| keep.image.as_ref() != Some(*tag)) {
            match engine.remove_image(tag, None::<RemoveImageOptions>, None).await {
                // 409: a box that is just ending has it.
                Err(e) if !matches!(status(&e), Some(404 | 409)) => return Err(other(e)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Lowercase, as an engine wants it; its end tells apart what would be the same so.
fn repository(wanted: &Wanted) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let part = |text: &str| text.chars().map(plain).collect::<String>();
    let (install, agent) = (part(&wanted.install), part(wanted.agent.as_str()));
    let only = ids::stable(&format!("{}\n{}", wanted.install, wanted.agent)).simple().to_string();
    let (install, agent) = (install.trim_matches('-'), agent.trim_matches('-'));
    format!("nanoclaw-agent-{install}-{agent}-{only}")
}

fn dockerfile(wanted: &Wanted) -> String {
    let mut file = String::from("ARG BASE\nFROM ${BASE}\nUSER root\n");
    // Another line is built, not found.
    if let Some((_, anew)) = wanted.key.split_once('-') {
        writeln!(file, "RUN : {anew}").ok();
    }
    let apt = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --";
    let clean = "rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*";
    if !wanted.apt.is_empty() {
        writeln!(file, "RUN {apt} {} && {clean}", wanted.apt.join(" ")).ok();
    }
    if !wanted.npm.is_empty() {
        writeln!(file, "RUN command -v npm >/dev/null || {{ {apt} nodejs npm && {clean}; }}").ok();
        // npm is told of the bundle only if there is one: an empty one would be an error.
        let ca = "--mount=type=secret,id=ca,target=/run/build-ca.crt,mode=0444 \
            if [ -s /run/build-ca.crt ]; then export NODE_EXTRA_CA_CERTS=/run/build-ca.crt; fi;";
        let npm = "npm install --global --ignore-scripts --no-audit --no-fund --fetch-retries=1 --";
        writeln!(file, "RUN {ca} {npm} {} && rm -rf /root/.npm", wanted.npm.join(" ")).ok();
        // Where `require` of the agent's own programs finds them.
        writeln!(file, "ENV NODE_PATH=/usr/local/lib/node_modules").ok();
    }
    file
}
