//! The image that boxes are made from: whether it is there, how it is built, and its base where no
//! registry can be reached.
//!
//! Building is the command line's job, not the API's: only there BuildKit can hand over a secret. What
//! the programs say goes line by line to `progress`. Nothing here runs while agents do.

use crate::{connect, other, status};
use nanoclaw_driver::DriverError;
use nanoclaw_driver::provide::Progress;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

const LINE_BYTES_MAX: usize = 400;
/// Releases before this one have BuildKit inside, later ones in a plug-in.
const PLUGIN_SINCE: u32 = 23;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a base does not need, relative to its root.
const SURPLUS: &[&str] = &[
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
    "usr/share/info/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "dev/*",
];

/// Whether the engine has this image.
pub async fn exists(image: &str) -> Result<bool, DriverError> {
    match connect().await?.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(e) if status(&e) == Some(404) => Ok(false),
        Err(e) => Err(other(e)),
    }
}

/// Builds `image` from the Dockerfile in `folder` on top of `base`. `ca` is a CA bundle that the build
/// may use and that stays in no layer.
pub async fn build(
    folder: &Path,
    image: &str,
    base: &str,
    ca: Option<&Path>,
    progress: Progress<'_>,
) -> Result<(), DriverError> {
    let mut command = Command::new(command_line().await?);
    command.env("DOCKER_BUILDKIT", "1").args(["build", "--progress=plain", "--tag", image]);
    command.arg("--build-arg").arg(format!("BASE={base}"));
    if let Some(ca) = ca {
        command.arg("--secret").arg(format!("id=ca,src={}", ca.display()));
    }
    run(command.arg(folder), progress).await
}

/// Makes the base image from the mirror that apt is set up with; takes about two minutes and root.
pub async fn base(image: &str, scratch: &Path, progress: Progress<'_>) -> Result<(), DriverError> {
    let (release, mirror) = mirror().await?;
    let (root, archive) = (scratch.join("rootfs"), scratch.join("base.tar"));
    progress(&format!("making {image} from {release} of {mirror}"));
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--include=ca-certificates", &release]);
    run(command.arg(&root).arg(&mirror), progress).await?;
    let mut command = Command::new("tar");
    command.arg("-C").arg(&root).args(SURPLUS.iter().map(|path| format!("--exclude=./{path}")));
    run(command.args(["-c", ".", "-f"]).arg(&archive), progress).await?;
    let mut command = Command::new("docker");
    command.args(["import", "-c", "CMD [\"bash\"]", "-c", &format!("ENV {PATH}")]);
    run(command.arg(&archive).arg(image), progress).await
}

/// Release and address of the Debian archive in apt's own configuration.
async fn mirror() -> Result<(String, String), DriverError> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(RELEASE) $(REPO_URI)"]);
    command.args(["Created-By: Packages", "Component: main"]);
    let output = command.output().await.map_err(|e| missing("apt-get", &e))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let archive = |line: &str| {
        let (release, address) = line.split_once(' ')?;
        // Updates and security fixes come as `bookworm-…`; other people's archives have other names.
        let script = Path::new("/usr/share/debootstrap/scripts").join(release);
        (!release.contains('-') && script.exists())
            .then(|| (release.to_owned(), address.to_owned()))
    };
    text.lines().find_map(archive).ok_or_else(|| {
        DriverError::Unavailable("apt knows no Debian archive; pull a base image instead".into())
    })
}

/// A `docker` that can build with BuildKit. Several may be installed, and not every one can.
async fn command_line() -> Result<PathBuf, DriverError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    for docker in known.map(|dir| dir.join("docker")).filter(|docker| docker.exists()) {
        let plugin = Command::new(&docker).args(["buildx", "version"]).output().await;
        let plugin = plugin.is_ok_and(|output| output.status.success());
        if plugin || major(&docker).await.is_some_and(|version| version < PLUGIN_SINCE) {
            return Ok(docker);
        }
    }
    Err(DriverError::Unavailable(
        "no docker command with BuildKit; install docker-buildx or docker.io".into(),
    ))
}

async fn major(docker: &Path) -> Option<u32> {
    let mut command = Command::new(docker);
    let output =
        command.args(["version", "--format", "{{.Client.Version}}"]).output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).split('.').next()?.parse().ok()
}

async fn run(command: &mut Command, progress: Progress<'_>) -> Result<(), DriverError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| missing(&program, &e))?;
    let (mut out, mut err) = (lines(child.stdout.take()), lines(child.stderr.take()));
    let mut last = String::new();
    loop {
        let line = tokio::select! {
            Some(line) = next(&mut out) => line,
            Some(line) = next(&mut err) => line,
            else => break,
        };
        let line: String = line.trim_end().chars().take(LINE_BYTES_MAX).collect();
        if !line.is_empty() {
            progress(&line);
            last = line;
        }
    }
    let status = child.wait().await.map_err(|e| missing(&program, &e))?;
    match status.success() {
        true => Ok(()),
        false => Err(DriverError::Other(format!("{program} failed ({status}): {last}"))),
    }
}

type Lines<R> = Option<tokio::io::Split<BufReader<R>>>;

fn lines<R: AsyncRead + Unpin>(stream: Option<R>) -> Lines<R> {
    stream.map(|stream| BufReader::new(stream).split(b'\n'))
}

/// The next line, as text whatever it holds; none at the end.
async fn next<R: AsyncRead + Unpin>(lines: &mut Lines<R>) -> Option<String> {
    let line = lines.as_mut()?.next_segment().await.ok()??;
    Some(String::from_utf8_lossy(&line).into_owned())
}

fn missing(program: &str, e: &std::io::Error) -> DriverError {
    DriverError::Unavailable(format!("{program} does not run ({e}); install it"))
}
