//! What follows from a record as soon as it is there.

use kube::ResourceExt;

use crate::api::{Job, JobRun};
use crate::controllers::Context;
use crate::dispatcher;
use crate::domain::job::Recorded;
use crate::domain::plan::Note;
use crate::runtime::clock::now;
use crate::runtime::store::Key;

/// Remembers the record of an attempt, tells whom it concerns, and says where it is not the one that was to be written: it has
/// another name than it was `asked` for, or was there before and says otherwise.
pub fn take_note(context: &Context, object: &Job, asked: Option<&str>, run: &JobRun, contradiction: Option<String>) {
    let (namespace, uid, name) =
        (object.namespace().unwrap_or_default(), object.uid().unwrap_or_default(), run.name_any());
    if let Some(asked) = asked.filter(|asked| *asked != name) {
        let text = format!("JobRun {asked} was not written by Rota; the record is {name}");
        context.tell(object, vec![Note::warning("ForeignRecord", "Record", text)]);
    }
    if let Some(text) = &contradiction {
        tracing::error!(key = %Key::of(object), "a record is not what happened: {text}");
        context.metrics.contradicted();
        context.tell(object, vec![Note::warning("RecordDiffers", "Record", text.clone())]);
    }
    let recorded = Recorded { contradiction, ..Recorded::of(run, now()) };
    context.memories.update(&uid, |memory| {
        memory.recorded = Some(recorded);
        memory.recording = None;
    });
    // An attempt whose batch Job was not said to end keeps its places until it is recorded.
    if dispatcher::sync(context, &namespace, &uid) {
        context.triggers.dispatch(&namespace);
    }
    if let Some(schedule) = &object.spec.schedule_ref {
        context.triggers.schedules.trigger(Key::new(&namespace, &schedule.name));
    }
    if let Some(group) = &object.spec.group_ref {
        context.triggers.groups.trigger(Key::new(&namespace, &group.name));
    }
}
