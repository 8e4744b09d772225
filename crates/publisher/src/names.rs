//! The metrics that a publisher tells the recorder of the service that it is in.

use metrics::{Unit, describe_counter, describe_gauge};

/// Counter by `subject` and `outcome`.
pub const EVENTS: &str = "tidewatch_publisher_events_total";
/// Counter by `subject`.
pub const FALLBACKS: &str = "tidewatch_publisher_fallbacks_total";
/// Gauge by `subject`.
pub const IN_FLIGHT: &str = "tidewatch_publisher_in_flight";
/// Gauge by `subject`.
pub const IN_FLIGHT_CAPACITY: &str = "tidewatch_publisher_in_flight_capacity";

/// Tells the installed recorder what they mean.
pub(crate) fn describe() {
    describe_counter!(
        EVENTS,
        Unit::Count,
        "Events by what became of them: accepted = acked + failed + in flight; duplicate is a part \
         of acked, retried counts tries."
    );
    describe_counter!(FALLBACKS, Unit::Count, "Batches that were published one by one instead.");
    describe_gauge!(
        IN_FLIGHT,
        Unit::Count,
        "Events accepted and neither acknowledged nor given up."
    );
    describe_gauge!(
        IN_FLIGHT_CAPACITY,
        Unit::Count,
        "Upper bound of tidewatch_publisher_in_flight (events_max); beyond it publish waits."
    );
}
