//! The highest generation seen of the agent: in memory, and in the state directory if there is
//! one, so that an agent whose state was rolled back while we were down is told.

use std::path::{Path, PathBuf};

/// What we have seen.
pub(super) struct Generation {
    seen: Option<u64>,
    file: Option<PathBuf>,
}

impl Generation {
    /// As it was when we last ran, if that is known.
    pub(super) fn load(directory: Option<&Path>) -> Self {
        let file = directory.map(|directory| directory.join(FILE));
        let text = file.as_deref().and_then(|file| std::fs::read_to_string(file).ok());
        Self { seen: text.and_then(|text| text.trim().parse().ok()), file }
    }

    pub(super) const fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// As the agent has answered. A lesser one counts too: the agent was told what we had seen,
    /// and has given its keys up.
    pub(super) fn saw(&mut self, generation: u64) {
        if self.seen == Some(generation) {
            return;
        }
        self.seen = Some(generation);
        let Some(file) = &self.file else { return };
        if let Err(error) = std::fs::write(file, format!("{generation}\n")) {
            tracing::warn!(file = %file.display(), %error, "the agent's generation is not kept");
        }
    }
}

const FILE: &str = "agent-generation";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_outlives_us_and_may_fall_once_the_agent_was_told() {
        let directory = std::env::temp_dir().join(format!("postern-gen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut generation = Generation::load(Some(&directory));
        assert_eq!(generation.seen(), None);
        generation.saw(7);
        assert_eq!(Generation::load(Some(&directory)).seen(), Some(7));
        generation.saw(3);
        assert_eq!(Generation::load(Some(&directory)).seen(), Some(3));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
