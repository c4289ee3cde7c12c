//! What is measured.

/// One step: what runs again and again, after its set-up.
pub(crate) struct Step {
    /// `area/what`.
    pub(crate) name: &'static str,
    /// Panics if it does not do what it stands for.
    pub(crate) run: Box<dyn FnMut()>,
}

impl Step {
    /// Gives a step its name.
    pub(crate) fn new(name: &'static str, run: impl FnMut() + 'static) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}
