//! What a kind does beyond the generic: defaults, preparation, validation, deletion, generation.
//!
//! The apiserver calls the methods of [`Kind`]; they do what all kinds share (metadata, status, generation) and
//! then ask the kind's [`Strategy`]. Names, uids and times are the apiserver's.

use serde_json::Value;

use crate::{FieldErrors, Kind, View, meta, tree};

/// The functions of one kind. All are pure; what a kind does not name does nothing.
pub struct Strategy {
    /// Fills what the user left out. Runs after decoding and again after admission; twice is as once.
    pub defaults: fn(&mut Value),
    pub prepare_create: fn(&mut Value),
    /// Notes in a new object who makes it: a `UserInfo` of authentication.k8s.io.
    pub note_maker: Option<fn(&mut Value, &Value)>,
    /// Before a PUT or PATCH of the object itself: `(new, old)`.
    pub prepare_update: fn(&mut Value, &Value),
    /// Before a PUT or PATCH of the status: `(new, old)`; everything but status and metadata is already old.
    pub prepare_status_update: fn(&mut Value, &Value),
    pub validate_create: fn(&Value) -> FieldErrors,
    pub validate_update: fn(&Value, &Value) -> FieldErrors,
    pub validate_status_update: fn(&Value, &Value) -> FieldErrors,
    pub deletion: Deletion,
    pub generation: Generation,
    /// What objects of the kind are given that no two may have.
    pub allocation: Option<Allocation>,
    /// What a POST asks, if objects of the kind are questions: it is answered, and nothing is stored.
    pub review: Option<Review>,
    /// Whose use of the machine they tell, if objects of the kind are measured when asked for, and never stored.
    pub measured: Option<Measured>,
    /// Whether a PUT of an absent object creates it.
    pub create_on_update: bool,
    /// Whether a PUT without resourceVersion overwrites.
    pub unconditional_update: bool,
}

/// How an object of the kind goes.
pub enum Deletion {
    /// At once, finalizers aside.
    Immediate,
    /// It may linger: the grace in seconds for an object and the seconds that the client asked for.
    /// Zero: at once.
    Graceful(fn(&Value, Option<i64>) -> i64),
    /// It is first marked by the function, which may add finalizers.
    Marked(fn(&mut Value)),
    /// It is first marked by the function (namespace: phase Terminating), and goes when `spec.finalizers` and
    /// `metadata.finalizers` are empty.
    SpecFinalizers(fn(&mut Value)),
}

/// What the server gives to objects, each to one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Cluster addresses and ports of all nodes, as [`crate::core::service::Held`] says.
    ServiceAddresses,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// Whether the sender may do something.
    OwnAccess,
    /// Whether somebody may.
    Access,
    /// What the sender may in a namespace.
    OwnRules,
    /// Who the sender is.
    OwnIdentity,
    /// Whose a token is.
    Token,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    Pods,
    Nodes,
}

/// What moves `metadata.generation`.
pub enum Generation {
    /// The kind has none.
    None,
    /// A change of anything but metadata and status.
    Spec,
    /// That, or a change of annotations (deployments).
    SpecOrAnnotations,
}

impl Strategy {
    pub const PLAIN: Self = Self {
        defaults: |_| {},
        prepare_create: |_| {},
        note_maker: None,
        prepare_update: |_, _| {},
        prepare_status_update: |_, _| {},
        validate_create: |_| FieldErrors::new(),
        validate_update: |_, _| FieldErrors::new(),
        validate_status_update: |_, _| FieldErrors::new(),
        deletion: Deletion::Immediate,
        generation: Generation::None,
        allocation: None,
        review: None,
        measured: None,
        create_on_update: false,
        unconditional_update: true,
    };
}

impl Kind {
    /// Fills what the user left out.
    pub fn default_fields(&self, object: &mut Value) {
        if self.as_stored(object, |stored, object| stored.default_fields(object)) {
            return;
        }
        (self.strategy.defaults)(object);
        if let Some(custom) = self.custom {
            custom.apply_defaults(object);
        }
    }

    /// Clears what a client may not set and starts the generation. Name, uid and creation time are set by the
    /// caller before this.
    pub fn prepare_create(&self, object: &mut Value) {
        if self.as_stored(object, |stored, object| stored.prepare_create(object)) {
            return;
        }
        for server_set in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
            meta::remove(object, server_set);
        }
        if self.has_status() {
            tree::remove(object, "status");
        }
        if !matches!(self.strategy.generation, Generation::None) {
            tree::set(object, "metadata.generation", 1);
        }
        (self.strategy.prepare_create)(object);
    }

    /// Keeps of `old` what a client may not set, and moves the generation.
    pub fn prepare_update(&self, object: &mut Value, old: &Value) {
        if let Some(conversion) = self.conversion {
            let old = conversion.stored(old);
            self.as_stored(object, |stored, object| stored.prepare_update(object, &old));
            return;
        }
        meta::inherit(object, old);
        tree::copy(object, "metadata.generation", old);
        if self.has_status() {
            tree::copy(object, "status", old);
        }
        (self.strategy.prepare_update)(object, old);
        self.move_generation(object, old);
    }

    /// Keeps everything of `old` but status and metadata.
    pub fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        if let Some(conversion) = self.conversion {
            let old = conversion.stored(old);
            self.as_stored(object, |stored, object| stored.prepare_status_update(object, &old));
            return;
        }
        meta::inherit(object, old);
        tree::copy(object, "metadata.generation", old);
        let status = object.get("status").cloned();
        let metadata = object.get("metadata").cloned();
        object.clone_from(old);
        for (name, value) in [("metadata", metadata), ("status", status)] {
            match value {
                Some(value) => tree::set(object, name, value),
                None => drop(tree::remove(object, name)),
            }
        }
        (self.strategy.prepare_status_update)(object, old);
    }

    /// Before a PUT or PATCH of a view: keeps everything of `old` but metadata and what the view lets through.
    pub fn prepare_view(&self, view: &View, object: &mut Value, (old, now): (&Value, &str)) {
        meta::inherit(object, old);
        tree::copy(object, "metadata.generation", old);
        let sent = std::mem::replace(object, old.clone());
        tree::copy(object, "metadata", &sent);
        tree::copy(object, view.part, &sent);
        (view.prepare)(object, old, now);
        self.move_generation(object, old);
    }

    /// All that is wrong with a changed view, metadata included.
    pub fn validate_view(&self, view: &View, object: &Value, old: &Value) -> FieldErrors {
        let mut errors = meta::validate_update(object, old);
        errors.extend((view.validate)(object, old));
        errors
    }

    /// Before a PUT of `finalize`: keeps the status of `old`.
    pub fn prepare_finalize(&self, object: &mut Value, old: &Value) {
        meta::inherit(object, old);
        tree::copy(object, "metadata.generation", old);
        tree::copy(object, "status", old);
    }

    /// All that is wrong with a new object, metadata included.
    pub fn validate_create(&self, object: &Value) -> FieldErrors {
        if let Some(conversion) = self.conversion {
            let object = conversion.stored(object);
            let mut errors = conversion.of.validate_create(&object);
            errors.extend((conversion.validate_create)(&object));
            return errors;
        }
        let mut errors = meta::validate(object, self);
        errors.extend((self.strategy.validate_create)(object));
        match self.custom {
            Some(custom) => custom.errors(object, errors),
            None => errors,
        }
    }

    /// All that is wrong with a changed object, metadata included.
    pub fn validate_update(&self, object: &Value, old: &Value) -> FieldErrors {
        if let Some(conversion) = self.conversion {
            let (object, old) = (conversion.stored(object), conversion.stored(old));
            let mut errors = conversion.of.validate_update(&object, &old);
            errors.extend((conversion.validate_update)(&object, &old));
            return errors;
        }
        let mut errors = meta::validate_update(object, old);
        errors.extend((self.strategy.validate_update)(object, old));
        errors.extend(self.custom.iter().flat_map(|custom| custom.new_errors(object, old)));
        errors
    }

    /// All that is wrong with a changed status, metadata included.
    pub fn validate_status_update(&self, object: &Value, old: &Value) -> FieldErrors {
        if let Some(conversion) = self.conversion {
            return conversion.of.validate_status_update(&conversion.stored(object), &conversion.stored(old));
        }
        let mut errors = meta::validate_update(object, old);
        errors.extend((self.strategy.validate_status_update)(object, old));
        errors.extend(self.custom.iter().flat_map(|custom| custom.new_errors(object, old)));
        errors
    }

    fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    fn move_generation(&self, object: &mut Value, old: &Value) {
        if self.moves_generation(object, old) {
            let generation = tree::int(old, "metadata.generation").unwrap_or_default();
            tree::set(object, "metadata.generation", generation + 1);
        }
    }

    fn moves_generation(&self, object: &Value, old: &Value) -> bool {
        let annotations =
            || !tree::same(tree::get(object, "metadata.annotations"), tree::get(old, "metadata.annotations"));
        match self.strategy.generation {
            Generation::None => false,
            Generation::Spec => self.spec_differs(object, old),
            Generation::SpecOrAnnotations => self.spec_differs(object, old) || annotations(),
        }
    }

    /// Whether anything but metadata differs, and status where it is a view of its own.
    fn spec_differs(&self, object: &Value, old: &Value) -> bool {
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
        };
        let counts = |key: &&String| match key.as_str() {
            "apiVersion" | "kind" | "metadata" => false,
            "status" => self.custom.is_some() && !self.has_status(),
            _ => true,
        };
        keys(object)
            .iter()
            .chain(&keys(old))
            .filter(counts)
            .any(|key| !tree::same(tree::get(object, key), tree::get(old, key)))
    }
}
